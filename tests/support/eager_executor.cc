#include "tests/support/eager_executor.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

absl::Status BrokenSlot(const ScheduledSequence& sequence, const std::string& what) {
  return absl::InternalError(
      absl::StrCat("sequence ", sequence.id, " in slot ", sequence.slot, ": ", what));
}

}  // namespace

void EagerExecutor::Launch(const StepInput& input) {
  const bool early = !launched_.empty() && launched_.back().masked;
  Step& step = launched_.emplace_back();
  if (launched_.size() > kMaxInFlight) step.status = absl::InternalError("too many steps launched");
  if (early) step.status = absl::InternalError("the step before was not sampled");
  std::set<int32_t> slots;
  for (const ScheduledSequence& sequence : input.sequences) {
    step.status.Update(UpdateSlot(sequence));
    if (!slots.insert(sequence.slot).second) {
      step.status.Update(BrokenSlot(sequence, "the slot is another's in the same step"));
    }
  }
  std::deque<std::vector<TokenId>> tokens;
  const absl::StatusOr<StepInput> known = WithPendingTokens(input, &tokens);
  step.status.Update(known.status());
  if (!step.status.ok()) return;
  absl::StatusOr<StepOutput> output = Run(*known);
  step.status = output.status();
  if (!output.ok()) return;
  step.output = *std::move(output);
  for (size_t i = 0; i < input.sequences.size(); ++i) {
    const auto& sampled = step.output.sequences[i].sampled;
    step.slots.push_back(input.sequences[i].slot);
    step.accepted.push_back(sampled.empty() ? -1
                                            : NumAccepted(sampled, input.sequences[i].draft) - 1);
  }
  step.masked = input.masked();
  if (!step.masked) EndStep(step);
}

void EagerExecutor::EndStep(const Step& step) {
  ++num_launched_;
  for (size_t i = 0; i < step.slots.size(); ++i) {
    if (step.accepted[i] < 0) continue;
    Slot& slot = slots_[step.slots[i]];
    slot.last_token = step.output.sequences[i].sampled[step.accepted[i]].id;
    slot.sampled_in = num_launched_;
  }
}

void EagerExecutor::Sample(const StepMasks& masks) {
  Step& step = launched_.back();
  if (!step.status.ok()) return;
  if (!step.masked || masks.of_sequences.size() != step.slots.size()) {
    step.status = absl::InternalError("masks that are not the step's");
    return;
  }
  const size_t num_masks = 1 + *std::ranges::max_element(masks.of_sequences);
  const size_t num_words = num_masks == 0 ? 0 : masks.words.size() / num_masks;
  for (size_t i = 0; i < step.slots.size(); ++i) {
    if (masks.of_sequences[i] == StepMasks::kNoMask || step.accepted[i] < 0) continue;
    const uint32_t* const mask = masks.words.data() + masks.of_sequences[i] * num_words;
    TokenId& id = step.output.sequences[i].sampled.front().id;
    for (size_t tries = 0; tries < 32 * num_words && !(mask[id / 32] >> (id % 32) & 1); ++tries) {
      id = static_cast<TokenId>((id + 1) % (32 * num_words));
    }
  }
  step.masked = false;
  EndStep(step);
}

absl::StatusOr<StepOutput> EagerExecutor::Collect() {
  if (launched_.empty()) return absl::InternalError("no step was launched");
  Step step = std::move(launched_.front());
  launched_.pop_front();
  if (!step.status.ok()) return step.status;
  if (step.masked) return absl::InternalError("the step was not sampled");
  return std::move(step.output);
}

absl::Status EagerExecutor::UpdateSlot(const ScheduledSequence& sequence) {
  Slot& slot = slots_[sequence.slot];
  if (sequence.new_in_slot) {
    slot = Slot();
    slot.owner = sequence.id;
  }
  if (slot.owner != sequence.id) return BrokenSlot(sequence, "the slot is another's");
  if (sequence.num_sent_blocks < 0 ||
      sequence.num_sent_blocks > static_cast<int32_t>(slot.blocks.size())) {
    return BrokenSlot(sequence, absl::StrCat("the slot has ", slot.blocks.size(), " blocks, not ",
                                             sequence.num_sent_blocks));
  }
  slot.blocks.resize(sequence.num_sent_blocks);
  const auto sent = sequence.block_table.subspan(sequence.num_sent_blocks);
  slot.blocks.insert(slot.blocks.end(), sent.begin(), sent.end());
  if (sequence.block_table != absl::MakeConstSpan(slot.blocks)) {
    return BrokenSlot(sequence, "the block table is not what the slot has");
  }
  return absl::OkStatus();
}

absl::StatusOr<StepInput> EagerExecutor::WithPendingTokens(
    StepInput input, std::deque<std::vector<TokenId>>* tokens) const {
  for (ScheduledSequence& sequence : input.sequences) {
    if (std::exchange(sequence.num_pending_tokens, 0) == 0) continue;
    const Slot& slot = slots_.at(sequence.slot);
    if (slot.sampled_in != num_launched_) return BrokenSlot(sequence, "no token is pending");
    tokens->emplace_back(sequence.tokens.begin(), sequence.tokens.end())
        .push_back(*slot.last_token);
    sequence.tokens = tokens->back();
  }
  return input;
}

}  // namespace tidal
