#include "engine/input_batch.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace tidal {
namespace {

constexpr int64_t kSectionAlignment = 64 / sizeof(int32_t);
constexpr int kNumSections = 9;

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

const Batch& InputBatch::Pack(const StepInput& input, const SparsePacking& sparse) {
  batch_ = Batch();
  used_ = 0;
  Order(input, sparse);
  PackTokens(input);
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
}

void InputBatch::PackTokens(const StepInput& input) {
  const BatchShape& shape = batch_.shape;
  int32_t* token_ids = Section(shape.num_tokens, &batch_.token_ids);
  int32_t* positions = Section(shape.num_tokens, &batch_.positions);
  int32_t* slots = Section(shape.num_tokens, &batch_.slot_mapping);
  int32_t* logit_rows = Section(shape.logit_rows, &batch_.logit_rows);
  int32_t token = 0;
  for (int32_t index : order_) {
    const ScheduledSequence& sequence = input.sequences[index];
    for (int32_t p = sequence.num_computed_tokens; p < ContextLen(sequence); ++p, ++token) {
      token_ids[token] = sequence.tokens[p];
      positions[token] = p;
      slots[token] =
          sequence.block_table[p / plan_.block_size] * plan_.block_size + p % plan_.block_size;
    }
    if (sequence.needs_token) *logit_rows++ = token - 1;
  }
}

void InputBatch::PackTables(const StepInput& input) {
  BatchShape& shape = batch_.shape;
  const int32_t rows = shape.num_sequences();
  const auto blocks_of = [this](const ScheduledSequence& sequence) {
    return (ContextLen(sequence) + plan_.block_size - 1) / plan_.block_size;
  };
  for (const ScheduledSequence& sequence : input.sequences) {
    batch_.block_table_stride = std::max(batch_.block_table_stride, blocks_of(sequence));
  }
  int32_t* table = Section(int64_t{rows} * batch_.block_table_stride, &batch_.block_tables);
  int32_t* context_lens = Section(rows, &batch_.context_lens);
  int32_t* cu_query_lens = Section(shape.prefill_sequences + 1, &batch_.cu_query_lens);
  *cu_query_lens = 0;
  for (int32_t row = 0; row < rows; ++row, table += batch_.block_table_stride) {
    const ScheduledSequence& sequence = input.sequences[order_[row]];
    const int32_t context = ContextLen(sequence), blocks = blocks_of(sequence);
    std::copy_n(sequence.block_table.begin(), blocks, table);
    std::fill(table + blocks, table + batch_.block_table_stride, -1);
    context_lens[row] = context;
    if (row >= shape.decode_rows()) {
      cu_query_lens[1] = cu_query_lens[0] + sequence.num_new_tokens;
      ++cu_query_lens;
      shape.max_prefill_context = std::max(shape.max_prefill_context, context);
      shape.max_query_len = std::max(shape.max_query_len, sequence.num_new_tokens);
    } else if (row >= shape.sparse_rows) {
      shape.max_dense_context = std::max(shape.max_dense_context, context);
    } else {
      shape.max_sparse_context = std::max(shape.max_sparse_context, context);
    }
  }
}

void InputBatch::PackBudgets(const StepInput& input, const SparsePacking& sparse) {
  BatchShape& shape = batch_.shape;
  int32_t* budgets = Section(shape.sparse_rows, &batch_.token_budgets);
  int32_t* recency = Section(shape.sparse_rows, &batch_.recency);
  for (int32_t row = 0; row < shape.sparse_rows; ++row) {
    const int32_t budget = input.sequences[order_[row]].attention.token_budget;
    budgets[row] = budget;
    recency[row] = static_cast<int32_t>(std::floor(sparse.recency_fraction * budget));
    shape.max_token_budget = std::max(shape.max_token_budget, budget);
  }
}

}  // namespace tidal
