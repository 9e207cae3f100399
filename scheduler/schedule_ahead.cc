// Scheduler::ScheduleAhead(): the step after the one in flight, before that one's tokens are known.
//
// It is certain what comes next when the step in flight is decode rows that each sample a token,
// because then every sequence runs exactly that token, or has ended. One that ends by its length
// is known to; one that ends by a stop token has a row in the next step, whose result Commit()
// ignores. Everything else that Schedule() does must have nothing to do: no deadline, no
// preemption, no admission, no correction. What sampling depends on is the slot's; masks come once
// the step in flight is committed.
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "scheduler/scheduler.h"

namespace tidal {

std::optional<StepInput> Scheduler::ScheduleAhead(absl::Time now) {
  TIDAL_CHECK(ahead_rows_.empty());
  std::vector<Row> next;
  int32_t num_live = 0, num_blocks = 0;
  for (const Row& row : rows_) {
    if (row.sequence == nullptr) continue;
    const Sequence& sequence = *row.sequence;
    ++num_live;
    if (row.kind != RowKind::kDecode) return std::nullopt;
    if (sequence.EndsByLength(config_.max_model_len)) continue;
    if (CorrectionIsDue(sequence.MostInexactTokens())) return std::nullopt;
    num_blocks += blocks_.NeedsBlock(sequence, /*pending=*/1) ? 1 : 0;
    next.push_back({.sequence = row.sequence,
                    .num_tokens = 1,
                    .kind = RowKind::kDecode,
                    .wanted = Wanted::kLastToken,
                    .num_pending_tokens = 1});
  }
  // Without tokens in this step, a sequence has some in the next.
  if (next.empty() || num_live < num_running()) return std::nullopt;
  const bool some_end = static_cast<int32_t>(next.size()) < num_live;
  if (num_blocks > blocks_.num_available() || AnyTimedOut(now) || WouldAdmitOrPreempt(some_end)) {
    return std::nullopt;
  }
  blocks_.SetNow(now);
  for (const Row& row : next) {
    if (blocks_.NeedsBlock(*row.sequence, /*pending=*/1)) blocks_.Append(row.sequence);
  }
  ahead_rows_ = std::move(next);
  return BuildStep(ahead_rows_);
}

// Would Schedule() preempt for a waiting sequence, or admit one? `some_end`: running sequences will
// have given back their seats and blocks.
bool Scheduler::WouldAdmitOrPreempt(bool some_end) {
  if (waiting_.empty()) return false;
  if (some_end || !PriorityVictims().empty()) return true;
  if (num_running() == config_.max_num_seqs) return false;
  int32_t num_skipped = 0;
  for (Sequence* sequence : waiting_) {
    if (blocks_.CanAllocate(sequence, BlockReserve())) return true;
    if (sequence->times_overtaken >= kMaxOvertaken || ++num_skipped == kMaxOvertaken) return false;
  }
  return false;
}

}  // namespace tidal
