#include "tests/support/eager_executor.h"

#include <utility>

namespace tidal {

void EagerExecutor::Launch(const StepInput& input) {
  Step& step = launched_.emplace_back();
  if (launched_.size() > kMaxInFlight) step.status = absl::InternalError("too many steps launched");
  std::deque<std::vector<TokenId>> tokens;
  const absl::StatusOr<StepInput> known = WithPendingTokens(input, &tokens);
  step.status.Update(known.status());
  sampled_.clear();
  if (!step.status.ok()) return;
  absl::StatusOr<StepOutput> output = Run(*known);
  step.status = output.status();
  if (!output.ok()) return;
  step.output = *std::move(output);
  for (const SequenceOutput& sequence : step.output.sequences) {
    sampled_.push_back(sequence.sampled ? std::optional(sequence.sampled->id) : std::nullopt);
  }
}

absl::StatusOr<StepOutput> EagerExecutor::Collect() {
  if (launched_.empty()) return absl::InternalError("no step was launched");
  Step step = std::move(launched_.front());
  launched_.pop_front();
  if (!step.status.ok()) return step.status;
  return std::move(step.output);
}

absl::StatusOr<StepInput> EagerExecutor::WithPendingTokens(
    StepInput input, std::deque<std::vector<TokenId>>* tokens) const {
  for (ScheduledSequence& sequence : input.sequences) {
    const int32_t row = std::exchange(sequence.pending_row, -1);
    if (row < 0) continue;
    if (row >= static_cast<int32_t>(sampled_.size()) || !sampled_[row]) {
      return absl::InternalError("a pending row without a token");
    }
    tokens->emplace_back(sequence.tokens.begin(), sequence.tokens.end()).push_back(*sampled_[row]);
    sequence.tokens = tokens->back();
  }
  return input;
}

}  // namespace tidal
