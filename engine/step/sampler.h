// From logits to tokens: the outputs of the back end's sampling, on their way to the host.
#ifndef TIDAL_ENGINE_STEP_SAMPLER_H_
#define TIDAL_ENGINE_STEP_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/memory/device_buffer.h"
#include "engine/memory/memory_plan.h"
#include "engine/step.h"
#include "engine/step/input_batch.h"
#include "engine/step/sequence_slots.h"
#include "kernels/backend.h"

namespace tidal {

// The tokens of one step: there once the back end has run the step.
struct SampledRows {
  // Of R rows with M alternatives: ids [R], top ids [R, M], logprobs [R], top logprobs [R, M], one
  // after the other, so that they come in one copy. All elements have 4 bytes.
  std::vector<int32_t> output;
  std::vector<int32_t> num_logprobs;  // [R], at most M

  // In the order of the rows. Precondition: they are there.
  std::vector<SampledToken> Tokens() const;
};

// A step is CountRows(), where it is masked TakeMasks(), Sample() for each of its parts, CopyOut().
// All of it is only enqueued. Not thread-safe.
class Sampler {
 public:
  static absl::StatusOr<Sampler> Create(const MemoryPlan& plan, int32_t vocab_size,
                                        Backend* backend);

  // How many tokens the step is to give, and with how many alternatives each.
  void CountRows(const StepInput& input);
  // The masks of the step's sequences.
  void TakeMasks(const StepMasks& masks);
  // One token from each row of `logits` (device, [logit_rows, vocab], overwritten), whose sequences
  // `order` names, counted from the step's `first_sequence`.
  void Sample(const std::vector<int32_t>& order, const Batch& batch, const SequenceSlots& slots,
              float* logits, int32_t first_sequence = 0);
  // Starts the copy to the host: the result may be moved, not copied, before it is there.
  SampledRows CopyOut();

 private:
  // Of the rows of `order`; sequences are those of the step from `first_sequence` on.
  TokenMasks MasksOf(const std::vector<int32_t>& order, int32_t first_sequence);

  Backend* backend_ = nullptr;
  int32_t vocab_size_ = 0;
  DeviceBuffer output_buffer_;  // of one step, as in SampledRows; steps run one after the other
  DeviceBuffer masks_buffer_;   // [max_num_seqs, words], then each row's mask
  int32_t max_masks_ = 0;
  // Of the step that has begun:
  int32_t num_rows_ = 0, max_logprobs_ = 0;
  std::vector<int32_t> num_logprobs_;          // of the rows sampled so far
  std::vector<int32_t> logprobs_of_sequence_;  // alternatives of each of its tokens
  std::vector<int32_t> mask_of_sequence_;      // empty: no sequence has one
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_STEP_SAMPLER_H_
