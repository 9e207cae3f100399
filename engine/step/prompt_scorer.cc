#include "engine/step/prompt_scorer.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace tidal {

absl::StatusOr<PromptScorer> PromptScorer::Create(const MemoryPlan& plan, int32_t vocab_size,
                                                  Backend* backend) {
  PromptScorer scorer;
  scorer.backend_ = backend;
  scorer.vocab_size_ = vocab_size;
  const int64_t elements =
      int64_t{2} * plan.max_num_batched_tokens * (1 + SamplingParams::kMaxLogprobs);
  TIDAL_ASSIGN_OR_RETURN(
      scorer.output_buffer_,
      DeviceBuffer::Allocate(backend, elements * static_cast<int64_t>(sizeof(int32_t)), "scorer"));
  return scorer;
}

void PromptScorer::CountRows(const StepInput& input) {
  num_rows_ = max_logprobs_ = 0;
  num_logprobs_.clear();
  for (const ScheduledSequence& sequence : input.sequences) {
    if (sequence.prompt_logprobs.count == 0) continue;
    num_rows_ += sequence.prompt_logprobs.count;
    max_logprobs_ = std::max(max_logprobs_, NumLogprobs(sequence));
  }
}

int32_t PromptScorer::NumLogprobs(const ScheduledSequence& sequence) const {
  return std::min(sequence.sampling->num_prompt_logprobs, vocab_size_);
}

void PromptScorer::Score(const StepInput& input, const std::vector<int32_t>& order,
                         const Batch& batch, float* logits, int32_t first, int32_t count) {
  const auto row = static_cast<int64_t>(num_logprobs_.size());
  for (int32_t i = first; i < first + count; ++i) {
    num_logprobs_.push_back(NumLogprobs(input.sequences[order[i]]));
  }
  int32_t* const ranks = output_buffer_.As<int32_t>();
  float* const logprobs =
      reinterpret_cast<float*>(ranks + int64_t{num_rows_} * (1 + max_logprobs_));
  const int64_t top = num_rows_ + row * max_logprobs_;
  backend_->TokenLogprobs({.logits = logits,
                           .token_ids = batch.prompt_targets + first,
                           .logprobs = logprobs + row,
                           .ranks = ranks + row,
                           .top_ids = ranks + top,
                           .top_logprobs = logprobs + top,
                           .num_rows = count,
                           .vocab = vocab_size_,
                           .max_logprobs = max_logprobs_});
}

SampledRows PromptScorer::CopyOut() {
  TIDAL_CHECK(static_cast<int32_t>(num_logprobs_.size()) == num_rows_);
  SampledRows rows;
  if (num_rows_ == 0) return rows;
  rows.output.resize(2 * int64_t{num_rows_} * (1 + max_logprobs_));
  rows.num_logprobs = std::move(num_logprobs_);
  backend_->CopyToHost(rows.output.data(), output_buffer_.As<int32_t>(),
                       rows.output.size() * sizeof(int32_t));
  return rows;
}

}  // namespace tidal
