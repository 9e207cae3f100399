#include "engine/step/owned_step.h"

namespace tidal {

OwnedStep::OwnedStep(const StepInput& step) : step_(step), owned_(step.sequences.size()) {
  for (size_t i = 0; i < owned_.size(); ++i) {
    ScheduledSequence& sequence = step_.sequences[i];
    Owned& owned = owned_[i];
    owned.tokens.assign(sequence.tokens.begin(), sequence.tokens.end());
    owned.draft.assign(sequence.draft.begin(), sequence.draft.end());
    owned.blocks.assign(sequence.block_table.begin(), sequence.block_table.end());
    owned.sampling = *sequence.sampling;
    sequence.tokens = owned.tokens;
    sequence.draft = owned.draft;
    sequence.block_table = owned.blocks;
    sequence.sampling = &owned.sampling;
  }
}

}  // namespace tidal
