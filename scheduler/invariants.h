// What must be true of the scheduler between steps, as a function of an immutable copy of it. Tests
// and debug builds check it after every step.
#ifndef TIDAL_SCHEDULER_INVARIANTS_H_
#define TIDAL_SCHEDULER_INVARIANTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/ids.h"
#include "scheduler/sequence.h"

namespace tidal {

struct SequenceSnapshot {
  SequenceId id;
  SequenceStatus status;
  int32_t priority;
  int64_t turn = 0;
  int64_t arrival_number;
  int32_t num_tokens, num_prompt_tokens, max_tokens;
  int32_t num_computed_tokens, num_exact_tokens, dense_until, next_prompt_logprob;
  std::vector<BlockId> block_table;
  int32_t num_published, num_sent;
  int32_t slot;
  std::vector<BlockId> recalled_match, fresh_match;  // of a waiting one, as in BlockManager
};

struct SchedulerSnapshot {
  int32_t block_size, max_num_seqs, max_model_len;
  std::vector<int32_t> ref_counts;  // [num_blocks]
  std::vector<bool> is_published;   // [num_blocks]
  std::vector<BlockId> free_blocks;
  std::vector<BlockId> parked_blocks;  // published, without a reference
  std::vector<int32_t> free_slots;
  std::vector<SequenceSnapshot> running, waiting;  // in the order they are served
  int32_t num_sequences;
};

SequenceSnapshot SnapshotOf(const Sequence& sequence);

// Everything that is wrong, one sentence each; empty when all holds:
//  - every block is exactly one of free, parked, owned: free + parked + owned = total
//  - a block's reference count is the number of block tables it is in; a table names no block twice
//  - parked blocks are published, free ones are not
//  - a block in several tables is published, and so is a sequence's leading num_published blocks
//    and no other of its blocks; they hold exact computed tokens only
//  - a running sequence has blocks for what is computed, a waiting one has none and nothing
//    computed
//  - every slot is either free or that of one running sequence; what was sent of a block table is
//    no more than there is of it
//  - whoever has a block has its parent, so reference counts never rise along a table or a match
//  - what a waiting sequence remembers to find in the prefix cache is what it finds
//  - exact <= computed < tokens; dense_until in [prompt, tokens]; tokens within the limits
//  - the queues are in order, hold each sequence once, and running fits max_num_seqs
std::vector<std::string> FindViolations(const SchedulerSnapshot& snapshot);

// Prints the violations and aborts, if there are any.
void CheckInvariants(const SchedulerSnapshot& snapshot);

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_INVARIANTS_H_
