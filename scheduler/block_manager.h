// Gives blocks to sequences and takes them back: the only place that does.
#ifndef TIDAL_SCHEDULER_BLOCK_MANAGER_H_
#define TIDAL_SCHEDULER_BLOCK_MANAGER_H_

#include <cstdint>
#include <vector>

#include "engine/base/ids.h"
#include "scheduler/block_allocator.h"
#include "scheduler/block_residency.h"
#include "scheduler/prefix_cache.h"
#include "scheduler/sequence.h"

namespace tidal {

// A block is free, or referenced by sequences, or parked in the prefix cache. Free and parked
// blocks are "available". A block that is shared or published is never written again: matches end
// at a block's edge, before the last token, and only full exact blocks are published. Not
// thread-safe.
class BlockManager {
 public:
  BlockManager(int32_t num_blocks, int32_t block_size, bool enable_prefix_caching);
  ~BlockManager();  // CHECKs, through the allocator, that every sequence was freed

  // The time of what follows, for residency().
  void SetNow(absl::Time now) { residency_.SetNow(now); }

  // Blocks of a sequence of `num_tokens` tokens.
  int32_t BlocksFor(int32_t num_tokens) const {
    return (num_tokens + block_size_ - 1) / block_size_;
  }

  // Are there blocks for all tokens of a waiting sequence, with `reserve` available ones to spare?
  // Extends the sequence's hashes.
  bool CanAllocate(Sequence* sequence, int32_t reserve);
  // Gives a waiting sequence blocks for all its tokens; the leading ones come from the prefix cache
  // where it has them: full blocks of tokens that run densely, the last token never, and none while
  // log probabilities of the prompt are wanted. Returns the number of tokens found there.
  // Precondition: CanAllocate(sequence, 0).
  int32_t Allocate(Sequence* sequence);
  // Does the sequence need a block more for its newest token, or for `pending` tokens after it?
  bool NeedsBlock(const Sequence& sequence, int32_t pending = 0) const {
    return BlocksFor(sequence.num_tokens() + pending) >
           static_cast<int32_t>(sequence.blocks.table.size());
  }
  // Gives one. Precondition: num_available() > 0.
  void Append(Sequence* sequence);
  // Takes back those that its tokens do not need.
  void TakeBackUnused(Sequence* sequence);
  // Publishes the full blocks whose tokens are all computed and exact. A block that turns out to
  // exist already is exchanged for the published one, so that equal prefixes share memory and the
  // holder of an entry always holds its parent.
  void Publish(Sequence* sequence);
  // Nobody finds the sequence's published blocks any more, also those it found itself: what they
  // hold is not to be trusted.
  void Withdraw(const Sequence& sequence);
  // Takes all blocks back; published ones stay findable until evicted or withdrawn.
  void Free(Sequence* sequence);

  // Do both begin with the same `num_blocks` (at least 1) full blocks? Compares hashes, so a
  // collision may say so wrongly. Extends their hashes.
  bool EqualPrefixes(Sequence* a, Sequence* b, int32_t num_blocks) const;
  // The published blocks a waiting sequence can start from, as far as its hashes are known: by what
  // it remembers, and found from nothing. Always equal (invariants.h).
  std::vector<BlockId> RecalledMatch(const Sequence& sequence) const;
  std::vector<BlockId> FreshMatch(const Sequence& sequence) const;

  // Blocks that would become available if the sequence were freed.
  int32_t NumExclusiveBlocks(const Sequence& sequence) const;
  int32_t num_available() const { return allocator_.num_free() + cache_.num_parked(); }
  int32_t num_blocks() const { return allocator_.num_blocks(); }
  int32_t block_size() const { return block_size_; }
  const BlockAllocator& allocator() const { return allocator_; }
  const PrefixCache& prefix_cache() const { return cache_; }
  BlockResidency& residency() { return residency_; }

 private:
  void ExtendHashes(Sequence* sequence) const;
  BlockContent ContentOf(const Sequence& sequence, int32_t index, BlockId parent) const;
  // The published blocks a sequence can start from, in order; the sequence remembers them. What it
  // remembers is cut to what is still found, and looked up from there on, which gives the same as a
  // search from nothing: a step costs a waiting sequence the blocks that came or went, not all of
  // its prefix. Parking changes no match; how much of it is parked is asked anew each time.
  const std::vector<BlockId>& Match(Sequence* sequence) const;
  // `matched`, which it can start from, and what follows.
  std::vector<BlockId> ExtendMatch(const Sequence& sequence, std::vector<BlockId> matched) const;
  BlockId TakeBlock();
  void AddReference(BlockId block);
  void DropReference(BlockId block);

  const int32_t block_size_;
  const bool enable_prefix_caching_;
  BlockAllocator allocator_;
  PrefixCache cache_;
  BlockResidency residency_;
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_BLOCK_MANAGER_H_
