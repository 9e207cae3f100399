// From logits to tokens: gathers what the back end's sampling needs of each sequence.
#ifndef TIDAL_ENGINE_SAMPLER_H_
#define TIDAL_ENGINE_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/device_buffer.h"
#include "engine/memory_plan.h"
#include "engine/step.h"
#include "kernels/backend.h"
#include "kernels/sampling_params.h"

namespace tidal {

// The tokens of one step on their way to the host: there once the back end has run the step.
struct SampledRows {
  // Of R rows with M alternatives: ids [R], top ids [R, M], logprobs [R], top logprobs [R, M], one
  // after the other, so that they come in one copy. All elements have 4 bytes.
  std::vector<int32_t> output;
  std::vector<int32_t> num_logprobs;  // [R], at most M

  // In the order of the rows. Precondition: they are there.
  std::vector<SampledToken> Tokens() const;
};

// A step is Begin(), Sample() for each of its parts, End(). All of it is only enqueued; the tokens
// of a step are in device memory until the second step after it begins. Not thread-safe.
class Sampler {
 public:
  static absl::StatusOr<Sampler> Create(const MemoryPlan& plan, int32_t vocab_size,
                                        Backend* backend);

  // The rows are the sequences that need a token, in the order of Sample(). Returns the place of
  // the first one's in sampled(); the others follow.
  int32_t Begin(const StepInput& input);
  // One token for each sequence, from row i of `logits` (device, [rows, vocab], overwritten).
  void Sample(absl::Span<const ScheduledSequence* const> sequences, float* logits);
  // Starts the copy to the host: the result may be moved, not copied, before it is there.
  SampledRows End();

  // Device memory that holds the tokens of the latest two steps; never changes.
  const int32_t* sampled() const { return output_buffer_.As<int32_t>(); }

 private:
  // Adds a row for `sequence`; false when its penalties or biases do not fit beside the others.
  bool AddRow(const ScheduledSequence& sequence);
  void AddPenalties(const ScheduledSequence& sequence);
  // Samples the rows added so far from the first rows of `logits`.
  void RunGroup(float* logits);

  Backend* backend_ = nullptr;
  int32_t vocab_size_ = 0;
  int32_t max_penalties_ = 0, max_biases_ = 0;  // of one group
  DeviceBuffer rows_buffer_, penalties_buffer_, biases_buffer_;
  // Two steps' outputs, as in SampledRows, in turn: the next step reads the tokens of one while it
  // writes the other.
  DeviceBuffer output_buffer_;
  int32_t half_size_ = 0;  // elements for one step
  // Of the step that has begun:
  int32_t half_begin_ = 0;  // element where its half of output_buffer_ begins
  int32_t num_rows_ = 0, max_logprobs_ = 0;
  int32_t num_sampled_ = 0;  // rows sampled so far
  std::vector<int32_t> num_logprobs_;
  // One group, until it is enqueued.
  std::vector<SamplingRow> rows_;
  std::vector<TokenOccurrence> penalties_;
  std::vector<TokenBias> biases_;
  std::vector<int32_t> penalty_index_;  // [vocab], of a token in penalties_ while adding a row; -1
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_SAMPLER_H_
