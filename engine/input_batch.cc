#include "engine/input_batch.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/graph_buckets.h"

namespace tidal {
namespace {

constexpr int64_t kSectionAlignment = 64 / sizeof(int32_t);
constexpr int kNumSections = 9;
constexpr int32_t kStrideUnit = 64;   // blocks
constexpr int32_t kBudgetUnit = 256;  // tokens

int32_t ContextLen(const ScheduledSequence& sequence) {
  return sequence.num_computed_tokens + sequence.num_new_tokens;
}

// Sparse decode rows first, then dense decode rows, then prefill.
int RowClass(const ScheduledSequence& sequence, const SparsePacking& sparse) {
  if (!sequence.is_decode) return 2;
  return sparse.enabled && sequence.attention.RunsSparse(ContextLen(sequence)) ? 0 : 1;
}

}  // namespace

absl::StatusOr<InputBatch> InputBatch::Create(const MemoryPlan& plan, Backend* backend) {
  InputBatch batch;
  batch.backend_ = backend;
  batch.plan_ = plan;
  const int64_t tokens = plan.max_num_batched_tokens, rows = plan.max_num_seqs;
  const int64_t numbers =
      3 * tokens + rows * (plan.max_blocks_per_sequence + 5) + 1 + kNumSections * kSectionAlignment;
  TIDAL_ASSIGN_OR_RETURN(batch.buffer_,
                         DeviceBuffer::Allocate(backend, numbers * sizeof(int32_t), "input batch"));
  batch.host_.resize(numbers);
  return batch;
}

int32_t* InputBatch::Section(int64_t count, const int32_t** device) {
  const int64_t begin = used_;
  used_ += (count + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment;
  TIDAL_CHECK(used_ <= static_cast<int64_t>(host_.size()));
  *device = buffer_.As<int32_t>() + begin;
  return host_.data() + begin;
}

const Batch& InputBatch::Pack(const StepInput& input, const SparsePacking& sparse,
                              const PendingTokens& pending) {
  batch_ = Batch();
  batch_.sampled = pending.sampled;
  used_ = 0;
  Order(input, sparse);
  if (backend_->supports_graphs()) Pad(input);
  PackTokens(input, pending);
  PackTables(input);
  PackBudgets(input, sparse);
  backend_->CopyToDevice(buffer_.As<void>(), host_.data(), used_ * sizeof(int32_t));
  return batch_;
}

void InputBatch::Order(const StepInput& input, const SparsePacking& sparse) {
  BatchShape& shape = batch_.shape;
  order_.clear();
  logit_order_.clear();
  int32_t* const counts[] = {&shape.sparse_rows, &shape.dense_rows, &shape.prefill_sequences};
  for (int row_class = 0; row_class < 3; ++row_class) {
    for (size_t i = 0; i < input.sequences.size(); ++i) {
      if (RowClass(input.sequences[i], sparse) != row_class) continue;
      order_.push_back(static_cast<int32_t>(i));
      if (input.sequences[i].needs_token) logit_order_.push_back(static_cast<int32_t>(i));
      ++*counts[row_class];
      shape.num_tokens += input.sequences[i].num_new_tokens;
    }
  }
  shape.logit_rows = static_cast<int32_t>(logit_order_.size());
  for (size_t i = 0; i < input.sequences.size(); ++i) {
    batch_.block_table_stride = std::max(batch_.block_table_stride, BlocksOf(input.sequences[i]));
  }
  for (int32_t row = 0; row < shape.sparse_rows; ++row) {
    shape.max_token_budget =
        std::max(shape.max_token_budget, input.sequences[order_[row]].attention.token_budget);
  }
  for (int32_t row = 0; row < shape.sparse_rows + shape.dense_rows; ++row) {
    shape.max_decode_context =
        std::max(shape.max_decode_context, ContextLen(input.sequences[order_[row]]));
  }
}

int32_t InputBatch::BlocksOf(const ScheduledSequence& sequence) const {
  return (ContextLen(sequence) + plan_.block_size - 1) / plan_.block_size;
}

void InputBatch::Pad(const StepInput& input) {
  BatchShape& shape = batch_.shape;
  const auto rows = static_cast<int32_t>(input.sequences.size());
  if (shape.prefill_sequences > 0 || shape.logit_rows != rows) return;
  const int32_t bucket = BucketRows(rows, plan_.max_decode_rows);
  shape.padding_rows = bucket - rows;
  shape.num_tokens = shape.logit_rows = bucket;
  batch_.block_table_stride =
      BucketSize(batch_.block_table_stride, kStrideUnit, plan_.max_blocks_per_sequence);
  shape.max_decode_context =
      std::min(batch_.block_table_stride * plan_.block_size, plan_.max_model_len);
  shape.max_token_budget = BucketSize(shape.max_token_budget, kBudgetUnit, plan_.max_token_budget);
  batch_.graph_key = MakeGraphKey(bucket, batch_.block_table_stride, shape.max_token_budget);
}

void InputBatch::PackTokens(const StepInput& input, const PendingTokens& pending) {
  const BatchShape& shape = batch_.shape;
  int32_t* token_ids = Section(shape.num_tokens, &batch_.token_ids);
  int32_t* positions = Section(shape.num_tokens, &batch_.positions);
  int32_t* slots = Section(shape.num_tokens, &batch_.slot_mapping);
  int32_t* logit_rows = Section(shape.logit_rows, &batch_.logit_rows);
  int32_t token = 0;
  for (int32_t index : order_) {
    const ScheduledSequence& sequence = input.sequences[index];
    for (int32_t p = sequence.num_computed_tokens; p < ContextLen(sequence); ++p, ++token) {
      const bool known = p < static_cast<int32_t>(sequence.tokens.size());
      token_ids[token] = known ? sequence.tokens[p] : ~pending.places[sequence.pending_row];
      positions[token] = p;
      slots[token] =
          sequence.block_table[p / plan_.block_size] * plan_.block_size + p % plan_.block_size;
    }
    if (sequence.needs_token) *logit_rows++ = token - 1;
  }
  for (int32_t row = 0; row < shape.padding_rows; ++row, ++token) {
    token_ids[token] = 0;
    positions[token] = 0;
    slots[token] = -1;
    *logit_rows++ = token;
  }
}

void InputBatch::PackTables(const StepInput& input) {
  BatchShape& shape = batch_.shape;
  const int32_t rows = shape.num_sequences(), stride = batch_.block_table_stride;
  int32_t* table = Section(int64_t{rows} * stride, &batch_.block_tables);
  int32_t* context_lens = Section(rows, &batch_.context_lens);
  int32_t* cu_query_lens = Section(shape.prefill_sequences + 1, &batch_.cu_query_lens);
  *cu_query_lens = 0;
  int32_t row = 0;
  for (int32_t index : order_) {
    const ScheduledSequence& sequence = input.sequences[index];
    const int32_t context = ContextLen(sequence), blocks = BlocksOf(sequence);
    int32_t* const entries = table + int64_t{row} * stride;
    std::copy_n(sequence.block_table.begin(), blocks, entries);
    // Padded batches are large, and what lies past a context is never read.
    if (batch_.graph_key == 0) std::fill(entries + blocks, entries + stride, -1);
    context_lens[row] = context;
    if (row >= shape.decode_rows()) {
      cu_query_lens[1] = cu_query_lens[0] + sequence.num_new_tokens;
      ++cu_query_lens;
      shape.max_prefill_context = std::max(shape.max_prefill_context, context);
      shape.max_query_len = std::max(shape.max_query_len, sequence.num_new_tokens);
    }
    ++row;
  }
  std::fill_n(context_lens + shape.sparse_rows + shape.dense_rows, shape.padding_rows, 0);
}

void InputBatch::PackBudgets(const StepInput& input, const SparsePacking& sparse) {
  const BatchShape& shape = batch_.shape;
  int32_t* budgets = Section(shape.decode_rows(), &batch_.token_budgets);
  int32_t* recency = Section(shape.decode_rows(), &batch_.recency);
  std::fill_n(budgets, shape.decode_rows(), 0);
  std::fill_n(recency, shape.decode_rows(), 0);
  for (int32_t row = 0; row < shape.sparse_rows; ++row) {
    budgets[row] = input.sequences[order_[row]].attention.token_budget;
    recency[row] = static_cast<int32_t>(std::floor(sparse.recency_fraction * budgets[row]));
  }
}

}  // namespace tidal
