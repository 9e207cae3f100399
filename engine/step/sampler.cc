#include "engine/step/sampler.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace tidal {

absl::StatusOr<Sampler> Sampler::Create(const MemoryPlan& plan, int32_t vocab_size,
                                        Backend* backend) {
  Sampler sampler;
  sampler.backend_ = backend;
  sampler.vocab_size_ = vocab_size;
  const int64_t elements =
      int64_t{2} * plan.max_sampled_tokens * (1 + SamplingParams::kMaxLogprobTokenIds);
  static_assert(SamplingParams::kMaxLogprobTokenIds >= SamplingParams::kMaxLogprobs);
  TIDAL_ASSIGN_OR_RETURN(
      sampler.output_buffer_,
      DeviceBuffer::Allocate(backend, elements * static_cast<int64_t>(sizeof(int32_t)), "sampler"));
  sampler.max_masks_ = plan.max_num_seqs;
  const int64_t words = int64_t{plan.max_num_seqs} * TokenMasks::NumWords(vocab_size);
  TIDAL_ASSIGN_OR_RETURN(
      sampler.masks_buffer_,
      DeviceBuffer::Allocate(
          backend, (words + plan.max_sampled_tokens) * static_cast<int64_t>(sizeof(uint32_t)),
          "masks of the sampler"));
  return sampler;
}

void Sampler::CountRows(const StepInput& input) {
  num_rows_ = max_logprobs_ = 0;
  num_logprobs_.clear();
  logprobs_of_sequence_.clear();
  mask_of_sequence_.clear();
  for (const ScheduledSequence& sequence : input.sequences) {
    const int32_t num_logprobs = sequence.sampling->num_alternatives(vocab_size_);
    logprobs_of_sequence_.push_back(num_logprobs);
    if (sequence.num_wanted() == 0) continue;
    num_rows_ += sequence.num_wanted();
    max_logprobs_ = std::max(max_logprobs_, num_logprobs);
  }
}

void Sampler::TakeMasks(const StepMasks& masks) {
  const int64_t num_words = TokenMasks::NumWords(vocab_size_);
  const auto num_masks = static_cast<int64_t>(masks.words.size()) / num_words;
  TIDAL_CHECK(num_masks <= max_masks_);
  TIDAL_CHECK(num_masks * num_words == static_cast<int64_t>(masks.words.size()));
  for (const int32_t mask : masks.of_sequences) {
    TIDAL_CHECK(mask >= TokenMasks::kNoMask && mask < num_masks);
  }
  mask_of_sequence_ = masks.of_sequences;
  backend_->CopyToDevice(masks_buffer_.As<uint32_t>(), masks.words.data(),
                         masks.words.size() * sizeof(uint32_t));
}

TokenMasks Sampler::MasksOf(const std::vector<int32_t>& order, int32_t first_sequence) {
  if (mask_of_sequence_.empty()) return {};
  std::vector<int32_t> of_rows;
  for (const int32_t index : order) of_rows.push_back(mask_of_sequence_[first_sequence + index]);
  uint32_t* const words = masks_buffer_.As<uint32_t>();
  auto* const device_rows =
      reinterpret_cast<int32_t*>(words + int64_t{max_masks_} * TokenMasks::NumWords(vocab_size_));
  backend_->CopyToDevice(device_rows, of_rows.data(), of_rows.size() * sizeof(int32_t));
  return {.of_rows = device_rows, .words = words};
}

void Sampler::Sample(const std::vector<int32_t>& order, const Batch& batch,
                     const SequenceSlots& slots, float* logits, int32_t first_sequence) {
  if (order.empty()) return;
  const auto first = static_cast<int64_t>(num_logprobs_.size());
  for (int32_t index : order) {
    num_logprobs_.push_back(logprobs_of_sequence_[first_sequence + index]);
  }
  int32_t* const ids = output_buffer_.As<int32_t>();
  float* const logprobs = reinterpret_cast<float*>(ids + int64_t{num_rows_} * (1 + max_logprobs_));
  const int64_t top = num_rows_ + first * max_logprobs_;
  const SampleParams params = {.logits = logits,
                               .sequence_slots = batch.sampled_slots,
                               .generated = batch.generated,
                               .slots = slots.sampling(),
                               .token_ids = ids + first,
                               .logprobs = logprobs + first,
                               .top_ids = ids + top,
                               .top_logprobs = logprobs + top,
                               .num_rows = static_cast<int32_t>(order.size()),
                               .vocab = vocab_size_,
                               .max_logprobs = max_logprobs_,
                               .drafts = batch.drafts,
                               .masks = MasksOf(order, first_sequence)};
  backend_->Sample(params);
  if (batch.shape.verify_tokens > 0) backend_->AcceptDrafts(params);
}

SampledRows Sampler::CopyOut() {
  TIDAL_CHECK(static_cast<int32_t>(num_logprobs_.size()) == num_rows_);
  SampledRows rows;
  rows.output.resize(2 * int64_t{num_rows_} * (1 + max_logprobs_));
  rows.num_logprobs = std::move(num_logprobs_);
  backend_->CopyToHost(rows.output.data(), output_buffer_.As<int32_t>(),
                       rows.output.size() * sizeof(int32_t));
  return rows;
}

std::vector<SampledToken> SampledRows::Tokens() const {
  const size_t rows = num_logprobs.size(), half = output.size() / 2;
  std::vector<float> logprobs(half);
  if (half > 0) std::memcpy(logprobs.data(), output.data() + half, half * sizeof(float));
  const size_t max_logprobs = rows == 0 ? 0 : half / rows - 1;
  std::vector<SampledToken> tokens(rows);
  for (size_t i = 0; i < rows; ++i) {
    tokens[i].id = output[i];
    tokens[i].logprob = logprobs[i];
    const size_t top = rows + i * max_logprobs;
    for (size_t j = top; j < top + num_logprobs[i]; ++j) {
      tokens[i].top.push_back({output[j], logprobs[j]});
    }
  }
  return tokens;
}

}  // namespace tidal
