// An Executor whose steps run when they are launched: what executors without a device share.
#ifndef TIDAL_TESTS_SUPPORT_EAGER_EXECUTOR_H_
#define TIDAL_TESTS_SUPPORT_EAGER_EXECUTOR_H_

#include <deque>
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
  absl::StatusOr<StepOutput> Collect() final;

 protected:
  // Every token of `input` is known.
  virtual absl::StatusOr<StepOutput> Run(const StepInput& input) = 0;

 private:
  struct Step {
    absl::Status status;
    StepOutput output;
  };

  // The input with every token known; those of sequences with a pending row are put into `tokens`.
  absl::StatusOr<StepInput> WithPendingTokens(StepInput input,
                                              std::deque<std::vector<TokenId>>* tokens) const;

  std::vector<std::optional<TokenId>> sampled_;  // by each sequence of the last step
  std::deque<Step> launched_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SUPPORT_EAGER_EXECUTOR_H_
