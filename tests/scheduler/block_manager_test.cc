#include "scheduler/block_manager.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int32_t kBlockSize = 4;

std::unique_ptr<Sequence> MakeSequence(std::vector<TokenId> prompt, const std::string& salt = "") {
  static int64_t next_arrival_number = 0;
  auto request = MakeRequest(1, std::move(prompt), 50);
  request->cache_salt = salt;
  return std::make_unique<Sequence>(std::move(request), next_arrival_number++);
}

// Admits a sequence; returns the tokens found in the cache.
int32_t Admit(BlockManager& blocks, Sequence& sequence) {
  const int32_t cached = blocks.Allocate(&sequence);
  sequence.ResetComputed(cached);
  return cached;
}

// Computes all its tokens and publishes.
void Compute(BlockManager& blocks, Sequence& sequence) {
  sequence.AdvanceComputed(sequence.num_tokens() - sequence.num_computed_tokens(), false);
  blocks.Publish(&sequence);
}

TEST(BlockManagerTest, AllocatesBlocksForAllTokens) {
  BlockManager blocks(8, kBlockSize, true);
  EXPECT_EQ(blocks.BlocksFor(1), 1);
  EXPECT_EQ(blocks.BlocksFor(4), 1);
  EXPECT_EQ(blocks.BlocksFor(5), 2);
  auto sequence = MakeSequence(Prompt(9));
  EXPECT_EQ(Admit(blocks, *sequence), 0);
  EXPECT_THAT(sequence->blocks.table, SizeIs(3));
  EXPECT_EQ(blocks.num_available(), 5);
  blocks.Free(sequence.get());
  EXPECT_THAT(sequence->blocks.table, IsEmpty());
  EXPECT_EQ(blocks.num_available(), 8);
}

TEST(BlockManagerTest, CanAllocateCountsTheReserve) {
  BlockManager blocks(4, kBlockSize, true);
  auto sequence = MakeSequence(Prompt(9));
  EXPECT_TRUE(blocks.CanAllocate(sequence.get(), 0));
  EXPECT_TRUE(blocks.CanAllocate(sequence.get(), 1));
  EXPECT_FALSE(blocks.CanAllocate(sequence.get(), 2));
  auto huge = MakeSequence(Prompt(17));
  EXPECT_FALSE(blocks.CanAllocate(huge.get(), 0));
}

TEST(BlockManagerTest, AppendsABlockAtItsEdge) {
  BlockManager blocks(4, kBlockSize, true);
  auto sequence = MakeSequence(Prompt(3));
  Admit(blocks, *sequence);
  Compute(blocks, *sequence);
  sequence->AppendToken(9, 100);
  EXPECT_FALSE(blocks.NeedsBlock(*sequence));
  Compute(blocks, *sequence);
  sequence->AppendToken(9, 100);
  EXPECT_TRUE(blocks.NeedsBlock(*sequence));
  blocks.Append(sequence.get());
  EXPECT_FALSE(blocks.NeedsBlock(*sequence));
  EXPECT_THAT(sequence->blocks.table, SizeIs(2));
  blocks.Free(sequence.get());
}

TEST(BlockManagerTest, SharesFullBlocksOfAnEqualPrefix) {
  BlockManager blocks(16, kBlockSize, true);
  auto first = MakeSequence(Prompt(10));
  Admit(blocks, *first);
  Compute(blocks, *first);
  EXPECT_EQ(first->blocks.num_published, 2) << "the third block is not full";
  auto second = MakeSequence(Prompt(11));
  EXPECT_EQ(Admit(blocks, *second), 8);
  EXPECT_EQ(second->blocks.table[0], first->blocks.table[0]);
  EXPECT_EQ(second->blocks.table[1], first->blocks.table[1]);
  EXPECT_NE(second->blocks.table[2], first->blocks.table[2]);
  EXPECT_EQ(blocks.allocator().ref_count(first->blocks.table[0]), 2);
  EXPECT_EQ(blocks.NumExclusiveBlocks(*second), 1);
  blocks.Free(first.get());
  blocks.Free(second.get());
}

TEST(BlockManagerTest, AFullHitLeavesTheLastTokenToCompute) {
  BlockManager blocks(16, kBlockSize, true);
  auto first = MakeSequence(Prompt(8));
  Admit(blocks, *first);
  Compute(blocks, *first);
  blocks.Free(first.get());
  auto second = MakeSequence(Prompt(8));
  EXPECT_EQ(Admit(blocks, *second), 4);
  EXPECT_EQ(second->num_computed_tokens(), 4);
  blocks.Free(second.get());
  auto third = MakeSequence(Prompt(9));
  EXPECT_EQ(Admit(blocks, *third), 8);
  blocks.Free(third.get());
}

TEST(BlockManagerTest, SaltsDoNotShare) {
  BlockManager blocks(16, kBlockSize, true);
  auto first = MakeSequence(Prompt(10), "a");
  Admit(blocks, *first);
  Compute(blocks, *first);
  auto other = MakeSequence(Prompt(10), "b");
  EXPECT_EQ(Admit(blocks, *other), 0);
  auto same = MakeSequence(Prompt(10), "a");
  EXPECT_EQ(Admit(blocks, *same), 8);
  for (Sequence* sequence : {first.get(), other.get(), same.get()}) blocks.Free(sequence);
}

TEST(BlockManagerTest, CachedBlocksAreAvailableAndEvictedWhenWanted) {
  BlockManager blocks(4, kBlockSize, true);
  auto first = MakeSequence(Prompt(16));
  Admit(blocks, *first);
  Compute(blocks, *first);
  blocks.Free(first.get());
  EXPECT_EQ(blocks.num_available(), 4);
  EXPECT_EQ(blocks.prefix_cache().num_parked(), 4);
  auto second = MakeSequence(Prompt(7, 500));
  EXPECT_EQ(Admit(blocks, *second), 0);
  EXPECT_EQ(blocks.prefix_cache().num_parked(), 2) << "the tail of the cached prompt went first";
  auto third = MakeSequence(Prompt(8));
  EXPECT_TRUE(blocks.CanAllocate(third.get(), 0));
  EXPECT_EQ(Admit(blocks, *third), 4);
  blocks.Free(second.get());
  blocks.Free(third.get());
}

TEST(BlockManagerTest, MatchedCachedBlocksAreNotCountedTwice) {
  BlockManager blocks(4, kBlockSize, true);
  auto first = MakeSequence(Prompt(12));
  Admit(blocks, *first);
  Compute(blocks, *first);
  blocks.Free(first.get());  // 3 parked, 1 free
  auto holder = MakeSequence(Prompt(4, 500));
  Admit(blocks, *holder);  // takes the free one
  auto second = MakeSequence(Prompt(16));
  EXPECT_FALSE(blocks.CanAllocate(second.get(), 0)) << "3 matched and 1 new, none available";
  auto third = MakeSequence(Prompt(12));
  EXPECT_TRUE(blocks.CanAllocate(third.get(), 0)) << "2 matched, 1 evicted";
  EXPECT_EQ(Admit(blocks, *third), 8);
  blocks.Free(third.get());
  blocks.Free(holder.get());
}

// A sequence that waits remembers what it found; here it is asked after every change.
class RememberedMatchTest : public ::testing::Test {
 protected:
  RememberedMatchTest() : blocks_(8, kBlockSize, true), waiting_(MakeSequence(Prompt(17))) {}

  // Blocks it finds now; lets it remember them.
  size_t NumFound() {
    const std::vector<BlockId> match = blocks_.FreshMatch(*waiting_);
    EXPECT_EQ(blocks_.RecalledMatch(*waiting_), match);
    EXPECT_FALSE(blocks_.CanAllocate(waiting_.get(), /*reserve=*/100));
    EXPECT_EQ(waiting_->blocks.match, blocks_.FreshMatch(*waiting_));
    return waiting_->blocks.match.size();
  }
  // A sequence that has computed all its tokens.
  std::unique_ptr<Sequence> Run(std::vector<TokenId> prompt) {
    auto sequence = MakeSequence(std::move(prompt));
    Admit(blocks_, *sequence);
    Compute(blocks_, *sequence);
    return sequence;
  }

  BlockManager blocks_;
  std::unique_ptr<Sequence> waiting_;
};

TEST_F(RememberedMatchTest, FollowsWhatIsPublishedAndEvicted) {
  EXPECT_EQ(NumFound(), 0);
  auto first = Run(Prompt(8));
  EXPECT_EQ(NumFound(), 2);
  auto second = Run(Prompt(16));
  EXPECT_EQ(NumFound(), 4);
  blocks_.Free(second.get());
  EXPECT_EQ(NumFound(), 4) << "parked";
  auto other = Run(Prompt(20, 500));  // takes the four free blocks and the last parked one
  EXPECT_EQ(NumFound(), 3);
  blocks_.Free(other.get());
  auto third = Run(Prompt(16));
  EXPECT_EQ(NumFound(), 4);
  blocks_.Free(first.get());
  blocks_.Free(third.get());
}

TEST_F(RememberedMatchTest, DoesNotTakeABlockForWhatItHeldBefore) {
  auto first = Run(Prompt(16));
  blocks_.Free(first.get());
  EXPECT_EQ(NumFound(), 4);
  auto other = Run(Prompt(32, 500));  // all eight blocks, published as something else
  blocks_.Free(other.get());
  EXPECT_EQ(NumFound(), 0);
}

TEST_F(RememberedMatchTest, ForgetsWhatIsWithdrawn) {
  auto bad = Run(Prompt(8));
  auto other = Run(Prompt(16));  // holds two blocks of its own behind the bad ones
  EXPECT_EQ(NumFound(), 4);
  blocks_.Withdraw(*bad);
  EXPECT_EQ(NumFound(), 0);
  blocks_.Free(bad.get());
  blocks_.Free(other.get());
}

TEST_F(RememberedMatchTest, OutlivesAPreemption) {
  auto first = Run(Prompt(8));
  Admit(blocks_, *waiting_);
  Compute(blocks_, *waiting_);
  EXPECT_EQ(waiting_->blocks.num_published, 4);
  waiting_->AppendToken(9, 100);
  blocks_.Free(waiting_.get());
  waiting_->ResetComputed(0);
  EXPECT_EQ(NumFound(), 4);
  Admit(blocks_, *waiting_);
  blocks_.Withdraw(*first);
  blocks_.Free(waiting_.get());
  EXPECT_EQ(NumFound(), 0);
  blocks_.Free(first.get());
}

TEST(BlockManagerTest, EqualPrefixesHaveEqualBlocksFromTheFirst) {
  const BlockManager blocks(8, kBlockSize, true);
  auto a = MakeSequence(Prompt(12)), b = MakeSequence(Prompt(12));
  auto fork = MakeSequence({1, 2, 3, 4, 5, 6, 7, 9, 9, 10, 11, 12});
  EXPECT_TRUE(blocks.EqualPrefixes(a.get(), b.get(), 3));
  EXPECT_TRUE(blocks.EqualPrefixes(a.get(), fork.get(), 1));
  EXPECT_FALSE(blocks.EqualPrefixes(a.get(), fork.get(), 2));
  EXPECT_FALSE(blocks.EqualPrefixes(a.get(), fork.get(), 3)) << "the third block alone is equal";
}

TEST(BlockManagerTest, EqualBlocksComputedTwiceBecomeOne) {
  BlockManager blocks(8, kBlockSize, true);
  auto first = MakeSequence(Prompt(8)), second = MakeSequence(Prompt(8));
  Admit(blocks, *first);
  Admit(blocks, *second);
  EXPECT_EQ(blocks.num_available(), 4);
  Compute(blocks, *first);
  Compute(blocks, *second);
  EXPECT_EQ(blocks.num_available(), 6);
  EXPECT_EQ(second->blocks.table, first->blocks.table);
  blocks.Free(first.get());
  EXPECT_EQ(blocks.num_available(), 6);
  blocks.Free(second.get());
  EXPECT_EQ(blocks.num_available(), 8);
}

TEST(BlockManagerTest, PublishesExactTokensOnly) {
  BlockManager blocks(8, kBlockSize, true);
  auto request = MakeRequest(1, Prompt(5), 50);
  request->attention = Tidal(5);
  Sequence sequence(std::move(request), 0);
  Admit(blocks, sequence);
  Compute(blocks, sequence);
  for (TokenId token = 900; token < 903; ++token) {
    sequence.AppendToken(token, 100);
    sequence.AdvanceComputed(1, /*ran_sparse=*/true);
    blocks.Publish(&sequence);
  }
  EXPECT_EQ(sequence.num_computed_tokens(), 8);
  EXPECT_EQ(sequence.blocks.num_published, 1);
  // Another request with exactly these tokens finds the exact block only.
  std::vector<TokenId> prompt(sequence.tokens().begin(), sequence.tokens().end());
  prompt.push_back(1);
  auto other = MakeSequence(prompt);
  EXPECT_EQ(Admit(blocks, *other), 4);
  blocks.Free(&sequence);
  blocks.Free(other.get());
}

TEST(BlockManagerTest, TakesExactBlocksForTokensItHadDecodedSparsely) {
  BlockManager blocks(8, kBlockSize, true);
  auto exact = MakeSequence({1, 2, 3, 4, 5, 6, 7, 8, 9});
  Admit(blocks, *exact);
  Compute(blocks, *exact);
  auto request = MakeRequest(2, {1, 2, 3, 4, 5}, 50);
  request->attention = Tidal(5);
  Sequence sequence(std::move(request), 1);
  EXPECT_EQ(Admit(blocks, sequence), 4);
  sequence.AdvanceComputed(1, false);
  for (TokenId token = 6; token <= 9; ++token) {
    sequence.AppendToken(token, 100);
    if (blocks.NeedsBlock(sequence)) blocks.Append(&sequence);
    if (token < 9) sequence.AdvanceComputed(1, true);
  }
  blocks.Free(&sequence);
  sequence.ResetComputed(0);
  EXPECT_EQ(Admit(blocks, sequence), 8) << "what it had decoded sparsely is there exactly";
  blocks.Free(&sequence);
  blocks.Free(exact.get());
}

TEST(BlockManagerTest, WithoutPrefixCachingNothingIsKept) {
  BlockManager blocks(8, kBlockSize, false);
  auto first = MakeSequence(Prompt(8));
  Admit(blocks, *first);
  Compute(blocks, *first);
  EXPECT_EQ(first->blocks.num_published, 0);
  blocks.Free(first.get());
  EXPECT_EQ(blocks.allocator().num_free(), 8);
  auto second = MakeSequence(Prompt(8));
  EXPECT_EQ(Admit(blocks, *second), 0);
  blocks.Free(second.get());
}

TEST(BlockManagerTest, TellsHowLongBlocksWereKeptAndUsedAgain) {
  BlockManager blocks(4, kBlockSize, true);
  const auto at = [&](int32_t second) { blocks.SetNow(absl::UnixEpoch() + absl::Seconds(second)); };
  at(0);
  auto first = MakeSequence(Prompt(9));
  Admit(blocks, *first);
  Compute(blocks, *first);  // two full blocks
  blocks.Free(first.get());
  at(3);
  auto second = MakeSequence(Prompt(9));
  EXPECT_EQ(Admit(blocks, *second), 8);
  blocks.Free(second.get());
  BlockUse use = blocks.residency().TakeUse();
  EXPECT_THAT(use.reuse_gaps, ElementsAre(absl::Seconds(3), absl::Seconds(3)));
  EXPECT_THAT(use.lifetimes, IsEmpty());
  at(10);
  auto other = MakeSequence(Prompt(16, 500));
  Admit(blocks, *other);  // takes all four blocks
  use = blocks.residency().TakeUse();
  EXPECT_THAT(use.lifetimes, ElementsAre(absl::Seconds(10), absl::Seconds(10)));
  EXPECT_THAT(use.idle_times, ElementsAre(absl::Seconds(7), absl::Seconds(7)));
  EXPECT_THAT(use.reuse_gaps, IsEmpty());
  EXPECT_TRUE(blocks.residency().TakeUse().empty());
  blocks.Free(other.get());
}

}  // namespace
}  // namespace tidal
