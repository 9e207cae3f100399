// Scheduler::FillMasks(): what the sequences of a step may sample, all tokens before being known.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/base/check.h"
#include "scheduler/scheduler.h"

namespace tidal {

const StepMasks& Scheduler::FillMasks() {
  TIDAL_CHECK(!rows_.empty() && ahead_rows_.empty() && config_.vocab_size > 0);
  const size_t num_words = (static_cast<size_t>(config_.vocab_size) + 31) / 32;
  std::vector<size_t> constrained;
  for (size_t i = 0; i < rows_.size(); ++i) {
    // One that has ended since samples what it likes: nobody takes it.
    if (rows_[i].sequence == nullptr || rows_[i].wanted == Wanted::kNone) continue;
    if (rows_[i].sequence->request().constraint != nullptr) constrained.push_back(i);
  }
  std::vector<uint32_t>& words = masks_.words;
  words.resize(constrained.size() * num_words);
  std::vector<uint8_t> masked(constrained.size());
  mask_threads_.ForEach(static_cast<int32_t>(constrained.size()), [&](int32_t k) {
    const auto mask = absl::MakeSpan(words).subspan(k * num_words, num_words);
    std::fill(mask.begin(), mask.end(), ~uint32_t{0});
    masked[k] = rows_[constrained[k]].sequence->request().constraint->FillMask(mask);
  });
  masks_.of_sequences.assign(rows_.size(), StepMasks::kNoMask);
  size_t kept = 0;
  for (size_t k = 0; k < constrained.size(); ++k) {
    if (masked[k] == 0) continue;
    const auto from = words.begin() + static_cast<std::ptrdiff_t>(k * num_words);
    if (kept < k) {
      std::copy_n(from, num_words, words.begin() + static_cast<std::ptrdiff_t>(kept * num_words));
    }
    masks_.of_sequences[constrained[k]] = static_cast<int32_t>(kept++);
  }
  words.resize(kept * num_words);
  return masks_;
}

}  // namespace tidal
