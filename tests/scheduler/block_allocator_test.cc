#include "scheduler/block_allocator.h"

#include <memory>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace tidal {
namespace {

TEST(BlockAllocatorTest, GivesEveryBlockOnce) {
  BlockAllocator allocator(5);
  std::set<BlockId> taken;
  for (int i = 0; i < 5; ++i) {
    const BlockId block = allocator.Take();
    EXPECT_TRUE(block >= 0 && block < 5);
    EXPECT_TRUE(taken.insert(block).second);
    EXPECT_EQ(allocator.ref_count(block), 1);
  }
  EXPECT_EQ(allocator.num_free(), 0);
  for (BlockId block : taken) {
    EXPECT_EQ(allocator.DropReference(block), 0);
    EXPECT_EQ(allocator.num_free(), block) << "a block without reference is held until freed";
    allocator.Free(block);
  }
  EXPECT_EQ(allocator.num_free(), 5);
}

TEST(BlockAllocatorTest, CountsReferences) {
  BlockAllocator allocator(1);
  const BlockId block = allocator.Take();
  allocator.AddReference(block);
  EXPECT_EQ(allocator.ref_count(block), 2);
  EXPECT_EQ(allocator.DropReference(block), 1);
  EXPECT_EQ(allocator.DropReference(block), 0);
  allocator.AddReference(block);  // the prefix cache gives a held block out again
  EXPECT_EQ(allocator.DropReference(block), 0);
  allocator.Free(block);
  EXPECT_EQ(allocator.Take(), block);
  allocator.DropReference(block);
  allocator.Free(block);
}

TEST(BlockAllocatorDeathTest, MisuseIsFatal) {
  BlockAllocator allocator(2);
  EXPECT_DEATH(allocator.DropReference(0), "CHECK failed");
  EXPECT_DEATH(allocator.AddReference(0), "CHECK failed");
  EXPECT_DEATH(allocator.Free(0), "CHECK failed");
  EXPECT_DEATH(allocator.AddReference(2), "CHECK failed");
  EXPECT_DEATH(allocator.AddReference(-1), "CHECK failed");
  const BlockId block = allocator.Take();
  EXPECT_DEATH(allocator.Free(block), "CHECK failed") << "still referenced";
  allocator.DropReference(block);
  EXPECT_DEATH(allocator.DropReference(block), "CHECK failed");
  allocator.Free(block);
  EXPECT_DEATH(allocator.Free(block), "CHECK failed") << "freed twice";
  EXPECT_DEATH(BlockAllocator(0), "CHECK failed");
}

TEST(BlockAllocatorDeathTest, TakingFromAnEmptyPoolIsFatal) {
  BlockAllocator allocator(1);
  const BlockId block = allocator.Take();
  EXPECT_DEATH(allocator.Take(), "CHECK failed");
  allocator.DropReference(block);
  allocator.Free(block);
}

TEST(BlockAllocatorDeathTest, ALostBlockIsFatalAtTheEnd) {
  EXPECT_DEATH(
      {
        BlockAllocator allocator(3);
        allocator.Take();
      },
      "CHECK failed: num_free");
}

}  // namespace
}  // namespace tidal
