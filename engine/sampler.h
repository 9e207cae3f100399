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

// Not thread-safe.
class Sampler {
 public:
  static absl::StatusOr<Sampler> Create(const MemoryPlan& plan, int32_t vocab_size,
                                        Backend* backend);

  // One token for each sequence, from row i of `logits` (device, [rows, vocab], overwritten).
  // Waits for the back end; UNAVAILABLE with its error when an operation of the step failed.
  absl::StatusOr<std::vector<SampledToken>> Sample(
      absl::Span<const ScheduledSequence* const> sequences, float* logits);
  // Time the last Sample() spent waiting.
  double wait_seconds() const { return wait_seconds_; }

 private:
  // Adds a row for `sequence`; false when its penalties or biases do not fit beside the others.
  bool AddRow(const ScheduledSequence& sequence);
  void AddPenalties(const ScheduledSequence& sequence);
  // Samples the rows added so far from the first rows of `logits`.
  absl::Status RunGroup(float* logits, std::vector<SampledToken>* tokens);

  Backend* backend_ = nullptr;
  int32_t vocab_size_ = 0;
  int32_t max_penalties_ = 0, max_biases_ = 0;  // of one group
  DeviceBuffer rows_buffer_, penalties_buffer_, biases_buffer_;
  // Of R rows with M alternatives: ids [R], top ids [R, M], logprobs [R], top logprobs [R, M], one
  // after the other, so that they come back in one copy. All elements have 4 bytes.
  DeviceBuffer output_buffer_;
  // Host copies of one group; unchanged until the back end has run it.
  std::vector<SamplingRow> rows_;
  std::vector<TokenOccurrence> penalties_;
  std::vector<TokenBias> biases_;
  std::vector<int32_t> output_;  // as output_buffer_
  int32_t max_logprobs_ = 0;
  double wait_seconds_ = 0;
  std::vector<int32_t> penalty_index_;  // [vocab], of a token in penalties_ while adding a row; -1
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_SAMPLER_H_
