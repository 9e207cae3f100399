#include "engine/step/input_batch.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/step/graph_buckets.h"

namespace tidal {
namespace {

constexpr int64_t kSectionAlignment = 64 / sizeof(int32_t);
constexpr int kNumSections = 18;

// Sparse decode rows first, then dense decode rows, then chunks.
int RowClass(const ScheduledSequence& sequence, const SparsePacking& sparse) {
  if (sequence.kind != RowKind::kDecode) return 2;
  return sparse.enabled && sequence.wants_sparse() ? 0 : 1;
}

// Known, of the draft, or the slot's last one, which the device knows.
int32_t TokenAt(const ScheduledSequence& sequence, int32_t position) {
  const auto known = static_cast<int32_t>(sequence.tokens.size());
  if (position < known) return sequence.tokens[position];
  return sequence.draft.empty() ? ~sequence.slot : sequence.draft[position - known];
}

int32_t RoundUp(int32_t x, int32_t multiple) { return (x + multiple - 1) / multiple * multiple; }

}  // namespace

absl::StatusOr<InputBatch> InputBatch::Create(const MemoryPlan& plan, Device* device) {
  InputBatch batch;
  batch.device_ = device;
  batch.plan_ = plan;
  const int64_t tokens = plan.max_num_batched_tokens, rows = plan.max_num_seqs;
  const int64_t numbers = 5 * tokens + (6 + 2 * SequenceSlots::kMaxListedBlocks) * rows +
                          5 * int64_t{plan.max_sampled_tokens} + 2 +
                          kNumSections * kSectionAlignment;
  TIDAL_ASSIGN_OR_RETURN(batch.buffer_,
                         DeviceBuffer::Allocate(device, numbers * sizeof(int32_t), "input batch"));
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
                              SequenceSlots* slots) {
  table_updates_.clear();
  for (const ScheduledSequence& sequence : input.sequences) {
    slots->Update(sequence, &table_updates_);
  }
  Order(input, sparse);
  const BatchShape& shape = batch_.shape;
  const auto rows = static_cast<int32_t>(input.sequences.size());
  if (device_->supports_graphs() && shape.chunks == 0 && shape.logit_rows == rows) {
    Pad(rows, shape.sparse_rows > 0);
  }
  return Send(input, sparse);
}

const Batch& InputBatch::PackPadding(int32_t rows, bool sparse) {
  table_updates_.clear();
  const StepInput nothing;
  Order(nothing, {});
  Pad(rows, sparse);
  return Send(nothing, {});
}

const Batch& InputBatch::Send(const StepInput& input, const SparsePacking& sparse) {
  PackTableUpdates();
  PackTokens(input);
  PackSequences(input);
  PackSelection(input, sparse);
  PackLogits(input);
  if (batch_.shape.verify_tokens > 0) PackDrafts(input);
  if (batch_.shape.prompt_rows > 0) PackPromptRows(input);
  device_->CopyToDevice(buffer_.As<void>(), host_.data(), used_ * sizeof(int32_t));
  return batch_;
}

void InputBatch::Order(const StepInput& input, const SparsePacking& sparse) {
  batch_ = Batch();
  used_ = 0;
  BatchShape& shape = batch_.shape;
  order_.clear();
  logit_order_.clear();
  prompt_order_.clear();
  int32_t* const counts[] = {&shape.sparse_rows, &shape.dense_rows, &shape.chunks};
  for (int row_class = 0; row_class < 3; ++row_class) {
    for (size_t i = 0; i < input.sequences.size(); ++i) {
      const ScheduledSequence& sequence = input.sequences[i];
      if (RowClass(sequence, sparse) != row_class) continue;
      order_.push_back(static_cast<int32_t>(i));
      logit_order_.insert(logit_order_.end(), sequence.num_wanted(), static_cast<int32_t>(i));
      prompt_order_.insert(prompt_order_.end(), sequence.prompt_logprobs.count,
                           static_cast<int32_t>(i));
      ++*counts[row_class];
      shape.num_tokens += sequence.num_new_tokens;
      if (sequence.kind == RowKind::kVerify) shape.verify_tokens += sequence.num_new_tokens;
      int32_t& longest = row_class == 2 ? shape.max_chunk_context : shape.max_decode_context;
      longest = std::max(longest, sequence.context_len());
      if (row_class == 2) {
        shape.max_query_len = std::max(shape.max_query_len, sequence.num_new_tokens);
      }
    }
  }
  shape.logit_rows = static_cast<int32_t>(logit_order_.size());
  shape.prompt_rows = static_cast<int32_t>(prompt_order_.size());
  shape.selects = shape.sparse_rows > 0;
}

void InputBatch::Pad(int32_t rows, bool sparse) {
  BatchShape& shape = batch_.shape;
  const int32_t bucket = BucketRows(rows, plan_.max_decode_rows);
  shape.padding_rows = bucket - shape.sparse_rows - shape.dense_rows;
  shape.num_tokens = shape.logit_rows = bucket;
  shape.max_decode_context = plan_.max_model_len;
  shape.selects = sparse;
  batch_.graph_key = MakeGraphKey(bucket, sparse);
}

void InputBatch::PackTableUpdates() {
  BatchShape& shape = batch_.shape;
  shape.max_table_updates = SequenceSlots::kMaxListedBlocks * shape.num_sequences();
  TIDAL_CHECK(static_cast<int64_t>(table_updates_.size()) <= 2 * shape.max_table_updates);
  *Section(1, &batch_.num_table_updates) = static_cast<int32_t>(table_updates_.size() / 2);
  std::copy(table_updates_.begin(), table_updates_.end(),
            Section(2 * shape.max_table_updates, &batch_.table_updates));
}

void InputBatch::PackTokens(const StepInput& input) {
  const BatchShape& shape = batch_.shape;
  int32_t* token_ids = Section(shape.num_tokens, &batch_.token_ids);
  int32_t* positions = Section(shape.num_tokens, &batch_.positions);
  int32_t* cache_slots = Section(shape.num_tokens, &batch_.slot_mapping);
  int32_t token = 0;
  for (int32_t index : order_) {
    const ScheduledSequence& sequence = input.sequences[index];
    for (int32_t p = sequence.num_computed_tokens; p < sequence.context_len(); ++p, ++token) {
      token_ids[token] = TokenAt(sequence, p);
      positions[token] = p;
      cache_slots[token] =
          sequence.block_table[p / plan_.block_size] * plan_.block_size + p % plan_.block_size;
    }
  }
  std::fill_n(token_ids + token, shape.padding_rows, 0);
  std::fill_n(positions + token, shape.padding_rows, 0);
  std::fill_n(cache_slots + token, shape.padding_rows, -1);
}

void InputBatch::PackSequences(const StepInput& input) {
  const BatchShape& shape = batch_.shape;
  int32_t* sequence_slots = Section(shape.num_sequences(), &batch_.sequence_slots);
  int32_t* context_lens = Section(shape.num_sequences(), &batch_.context_lens);
  int32_t* cu_query_lens = Section(shape.chunks + 1, &batch_.cu_query_lens);
  *cu_query_lens = 0;
  for (int32_t index : order_) {
    const ScheduledSequence& sequence = input.sequences[index];
    *sequence_slots++ = sequence.slot;
    *context_lens++ = sequence.context_len();
    if (sequence.kind != RowKind::kDecode) {
      cu_query_lens[1] = cu_query_lens[0] + sequence.num_new_tokens;
      ++cu_query_lens;
    }
  }
  std::fill_n(sequence_slots, shape.padding_rows, 0);
  std::fill_n(context_lens, shape.padding_rows, 0);
}

void InputBatch::PackSelection(const StepInput& input, const SparsePacking& sparse) {
  BatchShape& shape = batch_.shape;
  int32_t* budgets = Section(shape.decode_rows(), &batch_.token_budgets);
  int32_t* recency = Section(shape.decode_rows(), &batch_.recency);
  int32_t* row_begins = Section(shape.decode_rows(), &batch_.row_begins);
  std::fill_n(budgets, shape.decode_rows(), 0);
  std::fill_n(recency, shape.decode_rows(), 0);
  std::fill_n(row_begins, shape.decode_rows(), 0);
  for (int32_t row = 0; row < shape.sparse_rows; ++row) {
    const ScheduledSequence& sequence = input.sequences[order_[row]];
    budgets[row] = sequence.attention.token_budget;
    recency[row] = static_cast<int32_t>(std::floor(sparse.recency_fraction * budgets[row]));
    row_begins[row] = shape.scored_tokens;
    shape.scored_tokens += RoundUp(sequence.context_len(), kScoreAlignment);
  }
}

void InputBatch::PackLogits(const StepInput& input) {
  const BatchShape& shape = batch_.shape;
  int32_t* logit_rows = Section(shape.logit_rows, &batch_.logit_rows);
  int32_t* sampled_slots = Section(shape.logit_rows, &batch_.sampled_slots);
  int32_t* generated = Section(shape.logit_rows, &batch_.generated);
  int32_t token = 0;
  for (int32_t index : order_) {
    const ScheduledSequence& sequence = input.sequences[index];
    token += sequence.num_new_tokens;
    for (int32_t i = 0; i < sequence.num_wanted(); ++i) {
      *logit_rows++ = token - sequence.num_wanted() + i;
      *sampled_slots++ = sequence.slot;
      *generated++ = sequence.num_tokens() - sequence.num_prompt_tokens + i;
    }
  }
  for (int32_t row = 0; row < shape.padding_rows; ++row) *logit_rows++ = token + row;
  std::fill_n(sampled_slots, shape.padding_rows, 0);
  std::fill_n(generated, shape.padding_rows, 0);
}

void InputBatch::PackDrafts(const StepInput& input) {
  const int64_t rows = batch_.shape.logit_rows;
  int32_t* places = Section(rows, &batch_.drafts.places);
  int32_t* next_tokens = Section(rows, &batch_.drafts.next_tokens);
  for (int32_t index : order_) {
    const ScheduledSequence& sequence = input.sequences[index];
    for (int32_t i = 0; i < sequence.num_wanted(); ++i) {
      const bool guessed = static_cast<size_t>(i) < sequence.draft.size();
      *places++ = i;
      *next_tokens++ = guessed ? sequence.draft[i] : DraftRows::kNoToken;
    }
  }
}

void InputBatch::PackPromptRows(const StepInput& input) {
  const int64_t count = batch_.shape.prompt_rows;
  int32_t* rows = Section(count, &batch_.prompt_rows);
  int32_t* targets = Section(count, &batch_.prompt_targets);
  int32_t token = 0;
  for (int32_t index : order_) {
    const ScheduledSequence& sequence = input.sequences[index];
    const auto [first, size] = sequence.prompt_logprobs;
    for (int32_t p = first; p < first + size; ++p) {
      *rows++ = token + p - 1 - sequence.num_computed_tokens;
      *targets++ = sequence.tokens[p];
    }
    token += sequence.num_new_tokens;
  }
}

}  // namespace tidal
