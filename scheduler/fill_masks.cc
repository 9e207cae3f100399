// Scheduler::FillMasks(): what the sequences of a step may sample, all tokens before being known.
#include <cstdint>
#include <vector>

#include "engine/base/check.h"
#include "scheduler/scheduler.h"

namespace tidal {

StepMasks Scheduler::FillMasks() {
  TIDAL_CHECK(!rows_.empty() && ahead_rows_.empty() && config_.vocab_size > 0);
  const size_t num_words = (static_cast<size_t>(config_.vocab_size) + 31) / 32;
  StepMasks masks;
  masks.of_sequences.assign(rows_.size(), StepMasks::kNoMask);
  for (size_t i = 0; i < rows_.size(); ++i) {
    // One that has ended since samples what it likes: nobody takes it.
    if (rows_[i].sequence == nullptr || rows_[i].wanted == Wanted::kNone) continue;
    TokenConstraint* const constraint = rows_[i].sequence->request().constraint.get();
    if (constraint == nullptr) continue;
    const size_t begin = masks.words.size();
    masks.words.resize(begin + num_words, ~uint32_t{0});
    if (constraint->FillMask(absl::MakeSpan(masks.words).subspan(begin))) {
      masks.of_sequences[i] = static_cast<int32_t>(begin / num_words);
    } else {
      masks.words.resize(begin);
    }
  }
  return masks;
}

}  // namespace tidal
