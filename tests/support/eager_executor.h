// An Executor whose steps run when they are launched: what executors without a device share. It
// keeps what slots hold and refuses a step that relies on more.
#ifndef TIDAL_TESTS_SUPPORT_EAGER_EXECUTOR_H_
#define TIDAL_TESTS_SUPPORT_EAGER_EXECUTOR_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/step.h"

namespace tidal {

// Not thread-safe, like Executor.
class EagerExecutor : public Executor {
 public:
  void Launch(const StepInput& input) final;
  // A token that its mask forbids becomes the next one that it allows, the lowest after the last.
  void Sample(const StepMasks& masks) final;
  absl::StatusOr<StepOutput> Collect() final;

 protected:
  // Every token of `input` is known. Drafts are not part of them.
  virtual absl::StatusOr<StepOutput> Run(const StepInput& input) = 0;

 private:
  struct Step {
    absl::Status status;
    StepOutput output;
    std::vector<int32_t> slots;     // by sequence
    std::vector<int32_t> accepted;  // the place of the last sampled token that counts, or -1
    bool masked = false;            // and not sampled yet
  };

  struct Slot {
    SequenceId owner = 0;
    std::vector<BlockId> blocks;
    std::optional<TokenId> last_token;
    int64_t sampled_in = -1;  // the step that sampled it
  };

  // What the step sampled becomes the slots' last tokens.
  void EndStep(const Step& step);
  absl::Status UpdateSlot(const ScheduledSequence& sequence);
  // The input with every token known; those of sequences with a pending one are put into `tokens`.
  absl::StatusOr<StepInput> WithPendingTokens(StepInput input,
                                              std::deque<std::vector<TokenId>>* tokens) const;

  std::map<int32_t, Slot> slots_;
  int64_t num_launched_ = 0;
  std::deque<Step> launched_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SUPPORT_EAGER_EXECUTOR_H_
