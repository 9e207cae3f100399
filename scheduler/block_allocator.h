// Which blocks of the KV cache are free, and how often the others are referenced.
#ifndef TIDAL_SCHEDULER_BLOCK_ALLOCATOR_H_
#define TIDAL_SCHEDULER_BLOCK_ALLOCATOR_H_

#include <cstdint>
#include <vector>

#include "engine/base/ids.h"

namespace tidal {

// A block is free, or referenced by `ref_count` block tables, or held with no reference (the prefix
// cache keeps it). Every misuse (a block freed twice, released too often) is a CHECK.
// Not thread-safe.
class BlockAllocator {
 public:
  explicit BlockAllocator(int32_t num_blocks);
  ~BlockAllocator();  // CHECKs that every block came back

  BlockAllocator(const BlockAllocator&) = delete;
  BlockAllocator& operator=(const BlockAllocator&) = delete;

  // A free block, now with one reference. Precondition: num_free() > 0.
  BlockId Take();
  // One reference more; the block is not free.
  void AddReference(BlockId block);
  // One reference less; returns what is left. At 0 the block is held, not free.
  int32_t DropReference(BlockId block);
  // Makes a held block free.
  void Free(BlockId block);

  int32_t num_blocks() const { return static_cast<int32_t>(ref_counts_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  int32_t ref_count(BlockId block) const { return ref_counts_[block]; }
  const std::vector<int32_t>& ref_counts() const { return ref_counts_; }  // 0 for free blocks
  const std::vector<BlockId>& free_blocks() const { return free_; }

 private:
  bool IsHeld(BlockId block) const;  // in range and not free

  std::vector<BlockId> free_;        // a stack: the block freed last is the warmest
  std::vector<int32_t> ref_counts_;  // [num_blocks]
  std::vector<bool> is_free_;        // [num_blocks]
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_BLOCK_ALLOCATOR_H_
