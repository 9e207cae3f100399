#include "scheduler/block_allocator.h"

#include "engine/base/check.h"

namespace tidal {

BlockAllocator::BlockAllocator(int32_t num_blocks)
    : ref_counts_(num_blocks, 0), is_free_(num_blocks, true) {
  TIDAL_CHECK(num_blocks >= 1);
  free_.reserve(num_blocks);
  for (BlockId block = num_blocks - 1; block >= 0; --block) free_.push_back(block);
}

BlockAllocator::~BlockAllocator() { TIDAL_CHECK(num_free() == num_blocks()); }

BlockId BlockAllocator::Take() {
  TIDAL_CHECK(!free_.empty());
  const BlockId block = free_.back();
  free_.pop_back();
  is_free_[block] = false;
  ref_counts_[block] = 1;
  return block;
}

void BlockAllocator::AddReference(BlockId block) {
  TIDAL_CHECK(IsHeld(block));
  ++ref_counts_[block];
}

int32_t BlockAllocator::DropReference(BlockId block) {
  TIDAL_CHECK(IsHeld(block) && ref_counts_[block] > 0);
  return --ref_counts_[block];
}

void BlockAllocator::Free(BlockId block) {
  TIDAL_CHECK(IsHeld(block) && ref_counts_[block] == 0);
  is_free_[block] = true;
  free_.push_back(block);
}

bool BlockAllocator::IsHeld(BlockId block) const {
  return block >= 0 && block < num_blocks() && !is_free_[block];
}

}  // namespace tidal
