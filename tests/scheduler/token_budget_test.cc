#include "scheduler/token_budget.h"

#include <numeric>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(TokenBudgetTest, SureChunkIsAllOfALittleAndHalfOfMuch) {
  EXPECT_EQ(SureChunk(10, 100, 16), 10);
  EXPECT_EQ(SureChunk(50, 100, 16), 50);
  EXPECT_EQ(SureChunk(51, 100, 16), 50);
  EXPECT_EQ(SureChunk(100000, 101, 16), 51);
  EXPECT_EQ(SureChunk(1, 1, 16), 1);
  EXPECT_EQ(SureChunk(5, 0, 16), 0);
}

TEST(TokenBudgetTest, SureChunkIsNoSmallerThanTheMinimum) {
  EXPECT_EQ(SureChunk(100, 20, 16), 16);
  EXPECT_EQ(SureChunk(100, 12, 16), 12);
  EXPECT_EQ(SureChunk(9, 12, 16), 9);
}

TEST(TokenBudgetTest, OneLongPromptTakesTheWholeStep) {
  EXPECT_THAT(DivideTokens(2048, 16, {30000}), ElementsAre(2048));
}

TEST(TokenBudgetTest, ShortPromptsPassBesideALongOne) {
  EXPECT_THAT(DivideTokens(1000, 16, {30000, 100, 200}), ElementsAre(700, 100, 200));
}

TEST(TokenBudgetTest, LongPromptsShareByOrder) {
  EXPECT_THAT(DivideTokens(1024, 16, {9000, 9000, 9000}), ElementsAre(512 + 128, 256, 128));
}

TEST(TokenBudgetTest, LeftoverTokensAreGivenInOrder) {
  EXPECT_THAT(DivideTokens(1000, 16, {600, 300}), ElementsAre(600, 300));
  EXPECT_THAT(DivideTokens(100, 16, {60, 60}), ElementsAre(60, 40));
}

TEST(TokenBudgetTest, TooFewTokensLeaveChunksEmpty) {
  EXPECT_THAT(DivideTokens(100, 16, {}), IsEmpty());
  EXPECT_THAT(DivideTokens(0, 16, {5, 5}), ElementsAre(0, 0));
  EXPECT_THAT(DivideTokens(1, 16, {5, 5}), ElementsAre(1, 0));
}

TEST(TokenBudgetTest, NeverMoreThanWantedOrThereIsAndNothingIsWasted) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 2000; ++trial) {
    const int32_t tokens = random() % 300;
    const int32_t min_chunk = 1 + random() % 20;
    std::vector<int32_t> wanted(random() % 12);
    for (int32_t& want : wanted) want = 1 + random() % 400;
    const std::vector<int32_t> granted = DivideTokens(tokens, min_chunk, wanted);
    ASSERT_EQ(granted.size(), wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_GE(granted[i], 0);
      EXPECT_LE(granted[i], wanted[i]);
    }
    const int64_t sum_wanted = std::accumulate(wanted.begin(), wanted.end(), int64_t{0});
    const int64_t sum_granted = std::accumulate(granted.begin(), granted.end(), int64_t{0});
    EXPECT_EQ(sum_granted, std::min<int64_t>(tokens, sum_wanted));
    if (tokens > 0 && !wanted.empty()) {
      EXPECT_GT(granted[0], 0) << "the first always advances";
    }
  }
}

}  // namespace
}  // namespace tidal
