// A step that outlives the views of the one it was made from.
#ifndef TIDAL_ENGINE_STEP_OWNED_STEP_H_
#define TIDAL_ENGINE_STEP_OWNED_STEP_H_

#include <vector>

#include "engine/step.h"

namespace tidal {

// Not copied and not moved: the step's views are of what lies beside it.
class OwnedStep {
 public:
  explicit OwnedStep(const StepInput& step);
  OwnedStep(const OwnedStep&) = delete;
  OwnedStep& operator=(const OwnedStep&) = delete;

  const StepInput& step() const { return step_; }

 private:
  struct Owned {
    std::vector<TokenId> tokens, draft;
    std::vector<BlockId> blocks;
    SamplingParams sampling;
  };

  StepInput step_;
  std::vector<Owned> owned_;  // by sequence
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_STEP_OWNED_STEP_H_
