// From the logits of a prompt's tokens to the log probabilities of those that follow them, on their
// way to the host.
#ifndef TIDAL_ENGINE_STEP_PROMPT_SCORER_H_
#define TIDAL_ENGINE_STEP_PROMPT_SCORER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/memory/device_buffer.h"
#include "engine/memory/memory_plan.h"
#include "engine/step.h"
#include "engine/step/input_batch.h"
#include "engine/step/sampler.h"
#include "kernels/backend.h"

namespace tidal {

// A step is CountRows(), Score() for the tiles of each of its parts, in order, CopyOut(). All of it
// is only enqueued. Not thread-safe.
class PromptScorer {
 public:
  static absl::StatusOr<PromptScorer> Create(const MemoryPlan& plan, int32_t vocab_size,
                                             Backend* backend);

  // How many log probabilities the step is to give, and with how many alternatives.
  void CountRows(const StepInput& input);
  // Those of the batch's prompt rows [first, first + count), at most max_sampled_tokens, whose
  // logits are given (device, [count, vocab], overwritten), and whose sequences `order` names, as
  // those of all prompt rows.
  void Score(const StepInput& input, const std::vector<int32_t>& order, const Batch& batch,
             float* logits, int32_t first, int32_t count);
  // Starts the copy to the host: the result may be moved, not copied, before it is there. The "ids"
  // of its rows are ranks.
  SampledRows CopyOut();

 private:
  int32_t NumLogprobs(const ScheduledSequence& sequence) const;  // alternatives of each token

  Backend* backend_ = nullptr;
  int32_t vocab_size_ = 0;
  DeviceBuffer output_buffer_;  // of one step, as in SampledRows; steps run one after the other
  // Of the step that has begun:
  int32_t num_rows_ = 0, max_logprobs_ = 0;
  std::vector<int32_t> num_logprobs_;  // of the rows scored so far
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_STEP_PROMPT_SCORER_H_
