#include "scheduler/invariants.h"

#include <cstdio>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace tidal {
namespace {

class Checker {
 public:
  explicit Checker(const SchedulerSnapshot& snapshot)
      : snapshot_(snapshot), num_blocks_(static_cast<int32_t>(snapshot.ref_counts.size())) {}

  std::vector<std::string> Check() && {
    CheckBlocks();
    CheckSlots();
    for (const SequenceSnapshot& sequence : snapshot_.running) CheckRunning(sequence);
    for (const SequenceSnapshot& sequence : snapshot_.waiting) CheckWaiting(sequence);
    CheckQueues();
    return std::move(violations_);
  }

 private:
  template <typename... Parts>
  void Expect(bool holds, const Parts&... parts) {
    if (!holds) violations_.push_back(absl::StrCat(parts...));
  }

  bool InRange(BlockId block) const { return block >= 0 && block < num_blocks_; }

  void CheckBlocks() {
    std::vector<int32_t> places(num_blocks_, 0);  // of free, parked, owned
    std::vector<int32_t> references(num_blocks_, 0);
    for (BlockId block : snapshot_.free_blocks) {
      Expect(InRange(block), "free block ", block, " is out of range");
      if (!InRange(block)) continue;
      ++places[block];
      Expect(!snapshot_.is_published[block], "block ", block, " is free and published");
    }
    for (BlockId block : snapshot_.parked_blocks) {
      Expect(InRange(block), "parked block ", block, " is out of range");
      if (!InRange(block)) continue;
      ++places[block];
      Expect(snapshot_.is_published[block], "block ", block, " is parked and not published");
    }
    for (const SequenceSnapshot& sequence : snapshot_.running) {
      for (BlockId block : sequence.block_table) {
        Expect(InRange(block), "sequence ", sequence.id, " names block ", block);
        if (InRange(block)) ++references[block];
      }
    }
    for (BlockId block = 0; block < num_blocks_; ++block) {
      places[block] += references[block] > 0;
      Expect(places[block] == 1, "block ", block, " is ", places[block],
             " of free, parked, owned instead of one");
      Expect(references[block] == snapshot_.ref_counts[block], "block ", block, " is in ",
             references[block], " tables and has ", snapshot_.ref_counts[block], " references");
      Expect(references[block] <= 1 || snapshot_.is_published[block], "block ", block,
             " is shared and not published");
    }
  }

  void CheckSlots() {
    std::vector<int32_t> places(snapshot_.max_num_seqs, 0);  // of free, a running sequence's
    const auto place = [&](int32_t slot) {
      const bool exists = slot >= 0 && slot < snapshot_.max_num_seqs;
      Expect(exists, "slot ", slot, " is out of range");
      if (exists) ++places[slot];
    };
    for (int32_t slot : snapshot_.free_slots) place(slot);
    for (const SequenceSnapshot& sequence : snapshot_.running) place(sequence.slot);
    for (int32_t slot = 0; slot < snapshot_.max_num_seqs; ++slot) {
      Expect(places[slot] == 1, "slot ", slot, " is in ", places[slot], " places instead of one");
    }
  }

  // Of a table or a match; blocks out of range are reported elsewhere.
  void CheckSharing(SequenceId id, const std::vector<BlockId>& chain) {
    for (size_t i = 1; i < chain.size(); ++i) {
      if (!InRange(chain[i - 1]) || !InRange(chain[i])) continue;
      Expect(snapshot_.ref_counts[chain[i]] <= snapshot_.ref_counts[chain[i - 1]], "sequence ", id,
             ": block ", i, " is referenced more often than its parent");
    }
  }

  void CheckTokens(const SequenceSnapshot& s) {
    Expect(s.num_computed_tokens >= 0 && s.num_computed_tokens < s.num_tokens, "sequence ", s.id,
           " has ", s.num_computed_tokens, " computed of ", s.num_tokens, " tokens");
    Expect(s.num_exact_tokens >= 0 && s.num_exact_tokens <= s.num_computed_tokens, "sequence ",
           s.id, " has ", s.num_exact_tokens, " exact of ", s.num_computed_tokens, " computed");
    Expect(s.dense_until >= s.num_prompt_tokens && s.dense_until <= s.num_tokens, "sequence ", s.id,
           " is dense until ", s.dense_until, " of ", s.num_tokens, " tokens, prompt ",
           s.num_prompt_tokens);
    const int32_t num_output = s.num_tokens - s.num_prompt_tokens;
    const bool goes_on = s.max_tokens == 0 ? num_output == 0 : num_output < s.max_tokens;
    const int32_t longest = snapshot_.max_model_len - (s.max_tokens == 0 ? 0 : 1);
    Expect(goes_on && s.num_tokens <= longest, "sequence ", s.id, " should have ended at ",
           s.num_tokens, " tokens");
    Expect(s.next_prompt_logprob >= std::min(s.num_computed_tokens + 1, s.num_prompt_tokens) &&
               s.next_prompt_logprob <= s.num_prompt_tokens,
           "sequence ", s.id, " is to give the log probability of prompt token ",
           s.next_prompt_logprob, " of ", s.num_prompt_tokens, " after ", s.num_computed_tokens,
           " computed tokens");
  }

  void CheckRunning(const SequenceSnapshot& s) {
    CheckTokens(s);
    Expect(s.status == SequenceStatus::kRunning, "sequence ", s.id, " runs and is not kRunning");
    const int32_t covered = static_cast<int32_t>(s.block_table.size()) * snapshot_.block_size;
    Expect(covered >= s.num_computed_tokens, "sequence ", s.id, " has blocks for ", covered,
           " tokens and computed ", s.num_computed_tokens);
    Expect(covered < s.num_tokens + snapshot_.block_size, "sequence ", s.id, " has blocks for ",
           covered, " tokens and only ", s.num_tokens);
    Expect(s.num_published * snapshot_.block_size <= s.num_exact_tokens, "sequence ", s.id,
           " published ", s.num_published, " blocks with ", s.num_exact_tokens, " exact tokens");
    Expect(s.num_sent >= 0 && s.num_sent <= static_cast<int32_t>(s.block_table.size()), "sequence ",
           s.id, " has sent ", s.num_sent, " of ", s.block_table.size(), " blocks");
    CheckSharing(s.id, s.block_table);
    absl::flat_hash_set<BlockId> seen;
    for (size_t i = 0; i < s.block_table.size(); ++i) {
      const BlockId block = s.block_table[i];
      Expect(seen.insert(block).second, "sequence ", s.id, " names block ", block, " twice");
      if (!InRange(block)) continue;
      const bool leading = i < static_cast<size_t>(s.num_published);
      Expect(snapshot_.is_published[block] == leading, "sequence ", s.id, ": block ", i,
             leading ? " should be published" : " should not be published");
    }
  }

  void CheckWaiting(const SequenceSnapshot& s) {
    CheckTokens(s);
    Expect(s.status == SequenceStatus::kWaiting, "sequence ", s.id, " waits and is not kWaiting");
    Expect(s.block_table.empty() && s.num_published == 0, "sequence ", s.id,
           " waits and holds blocks");
    Expect(s.slot == Sequence::kNoSlot, "sequence ", s.id, " waits and has slot ", s.slot);
    Expect(s.num_computed_tokens == 0, "sequence ", s.id, " waits with computed tokens");
    CheckSharing(s.id, s.fresh_match);
    Expect(s.recalled_match == s.fresh_match, "sequence ", s.id, " remembers to find ",
           s.recalled_match.size(), " blocks and finds ", s.fresh_match.size());
  }

  void CheckQueues() {
    absl::flat_hash_set<SequenceId> seen;
    for (const auto* queue : {&snapshot_.running, &snapshot_.waiting}) {
      for (size_t i = 0; i < queue->size(); ++i) {
        const SequenceSnapshot& s = (*queue)[i];
        Expect(seen.insert(s.id).second, "sequence ", s.id, " is queued twice");
        if (i == 0) continue;
        const SequenceSnapshot& before = (*queue)[i - 1];
        Expect(std::tie(before.priority, before.turn, before.arrival_number) <
                   std::tie(s.priority, s.turn, s.arrival_number),
               "sequences ", before.id, " and ", s.id, " are out of order");
      }
    }
    Expect(static_cast<int32_t>(seen.size()) == snapshot_.num_sequences, snapshot_.num_sequences,
           " sequences, ", seen.size(), " of them queued");
    Expect(static_cast<int32_t>(snapshot_.running.size()) <= snapshot_.max_num_seqs,
           snapshot_.running.size(), " sequences run, at most ", snapshot_.max_num_seqs);
  }

  const SchedulerSnapshot& snapshot_;
  const int32_t num_blocks_;
  std::vector<std::string> violations_;
};

}  // namespace

SequenceSnapshot SnapshotOf(const Sequence& sequence) {
  return {.id = sequence.id(),
          .status = sequence.status,
          .priority = sequence.request().priority,
          .turn = sequence.turn,
          .arrival_number = sequence.arrival_number(),
          .num_tokens = sequence.num_tokens(),
          .num_prompt_tokens = sequence.num_prompt_tokens(),
          .max_tokens = sequence.request().stop.max_tokens,
          .num_computed_tokens = sequence.num_computed_tokens(),
          .num_exact_tokens = sequence.num_exact_tokens(),
          .dense_until = sequence.dense_until(),
          .next_prompt_logprob = sequence.next_prompt_logprob(),
          .block_table = sequence.blocks.table,
          .num_published = sequence.blocks.num_published,
          .num_sent = sequence.blocks.num_sent,
          .slot = sequence.slot,
          .recalled_match = {},
          .fresh_match = {}};
}

std::vector<std::string> FindViolations(const SchedulerSnapshot& snapshot) {
  return Checker(snapshot).Check();
}

void CheckInvariants(const SchedulerSnapshot& snapshot) {
  const std::vector<std::string> violations = FindViolations(snapshot);
  for (const std::string& violation : violations) std::fprintf(stderr, "%s\n", violation.c_str());
  TIDAL_CHECK(violations.empty());
}

}  // namespace tidal
