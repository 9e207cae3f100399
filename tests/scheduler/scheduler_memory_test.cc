// What the scheduler does when blocks are short, and when they are shared.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/scheduler.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using Row = Harness::Row;

TEST(SchedulerMemoryTest, PreemptsTheMostRecentArrivalAndRecomputesIt) {
  Harness harness(TinyPoolConfig());
  harness.Add(MakeRequest(1, Prompt(12, 100), 25));
  harness.Add(MakeRequest(2, Prompt(12, 200), 25));
  harness.RunToEnd();
  EXPECT_EQ(harness.result(1).finish->preemptions, 0);
  EXPECT_GE(harness.result(2).finish->preemptions, 1);
  EXPECT_EQ(harness.scheduler().totals().preemptions, harness.result(2).finish->preemptions);
  EXPECT_EQ(harness.result(2).finish->dense_steps, 24) << "recomputed tokens are counted once";
  harness.ExpectOutputs();
}

TEST(SchedulerMemoryTest, PreemptsTheWorstPriorityFirst) {
  Harness harness(TinyPoolConfig());
  auto unimportant = MakeRequest(1, Prompt(12, 100), 25);
  unimportant->priority = 1;
  harness.Add(std::move(unimportant));
  harness.Add(MakeRequest(2, Prompt(12, 200), 25));
  harness.RunToEnd();
  EXPECT_GE(harness.result(1).finish->preemptions, 1);
  EXPECT_EQ(harness.result(2).finish->preemptions, 0);
  harness.ExpectOutputs();
}

TEST(SchedulerMemoryTest, APreemptedRequestComesBeforeLaterOnes) {
  Harness harness(TinyPoolConfig());
  harness.Add(MakeRequest(1, Prompt(12, 100), 25));
  harness.Add(MakeRequest(2, Prompt(12, 200), 25));
  while (harness.scheduler().totals().preemptions == 0) harness.Step();
  harness.Add(MakeRequest(3, Prompt(25, 300), 16));
  while (!harness.finished(1)) {
    const std::vector<Row> rows = harness.Step();
    EXPECT_FALSE(Harness::Ran(rows, 3) && !Harness::Ran(rows, 2) && !harness.finished(2));
  }
  harness.RunToEnd();
  EXPECT_LT(harness.result(2).finish->preemptions, 3);
  harness.ExpectOutputs();
}

TEST(SchedulerMemoryTest, ABetterPriorityTakesTheBlocksOfAWorseOne) {
  Harness harness(TinyPoolConfig());
  auto unimportant = MakeRequest(1, Prompt(30, 100), 10);
  unimportant->priority = 5;
  harness.Add(std::move(unimportant));
  harness.Step();
  ASSERT_EQ(harness.scheduler().num_running(), 1);
  harness.Add(MakeRequest(2, Prompt(30, 200), 3));
  EXPECT_TRUE(Harness::Ran(harness.Step(), 2));
  EXPECT_EQ(harness.scheduler().num_running(), 1);
  harness.RunToEnd();
  EXPECT_LT(harness.result(2).finish->finish, absl::InfiniteFuture());
  EXPECT_EQ(harness.result(1).finish->preemptions, 1);
  harness.ExpectOutputs();
}

TEST(SchedulerMemoryTest, ABetterPriorityTakesTheSeatOfAWorseOne) {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 1;
  Harness harness(config);
  auto unimportant = MakeRequest(1, Prompt(3, 100), 10);
  unimportant->priority = 5;
  harness.Add(std::move(unimportant));
  harness.Step();
  harness.Add(MakeRequest(2, Prompt(3, 200), 3));
  EXPECT_TRUE(Harness::Ran(harness.Step(), 2));
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST(SchedulerMemoryTest, AnEqualPriorityTakesNothing) {
  Harness harness(TinyPoolConfig());
  harness.Add(MakeRequest(1, Prompt(30, 100), 10));
  harness.Step();
  harness.Add(MakeRequest(2, Prompt(30, 200), 3));
  while (!harness.finished(1)) EXPECT_FALSE(Harness::Ran(harness.Step(), 2));
  harness.RunToEnd();
  EXPECT_EQ(harness.scheduler().totals().preemptions, 0);
}

TEST(SchedulerMemoryTest, SmallRequestsPassOneThatDoesNotFitButNotForever) {
  Harness harness(TinyPoolConfig());
  harness.Add(MakeRequest(1, Prompt(4, 100), 25));  // holds blocks for a while
  harness.Step();
  harness.Add(MakeRequest(2, Prompt(39, 200), 2));  // needs the whole pool
  SequenceId next = 3;
  int32_t passed = 0;
  while (!harness.finished(2)) {
    ASSERT_LT(next, 500);
    if (harness.scheduler().num_waiting() < 3) {
      harness.Add(MakeRequest(next, Prompt(2, 300 + 10 * next), 1));
      ++next;
    }
    for (const Row& row : harness.Step()) passed += row.id > 2;
  }
  EXPECT_GT(passed, 0);
  EXPECT_EQ(passed, Scheduler::kMaxOvertaken);
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST(SchedulerMemoryTest, AWorsePriorityNeverPassesOneThatDoesNotFit) {
  Harness harness(TinyPoolConfig());
  harness.Add(MakeRequest(1, Prompt(4, 100), 10));
  harness.Step();
  harness.Add(MakeRequest(2, Prompt(39, 200), 2));
  auto unimportant = MakeRequest(3, Prompt(2, 300), 1);
  unimportant->priority = 1;
  harness.Add(std::move(unimportant));
  while (!harness.finished(2))
    EXPECT_FALSE(Harness::Ran(harness.Step(), 3) && !harness.finished(2));
  harness.RunToEnd();
}

TEST(SchedulerMemoryTest, OneThatFillsTheWholePoolFinishesAlone) {
  Harness harness(TinyPoolConfig());
  harness.Add(MakeRequest(1, Prompt(1), 40));
  harness.Add(MakeRequest(2, Prompt(40), 1));
  harness.RunToEnd();
  harness.ExpectOutputs();
  EXPECT_EQ(harness.result(1).tokens.size(), 40);
}

TEST(SchedulerMemoryTest, APrefixHitIsCountedAndOnlyTheRestIsRun) {
  Harness harness(SmallConfig());
  harness.Add(MakeRequest(1, Prompt(20), 3));
  harness.RunToEnd();
  harness.Add(MakeRequest(2, Prompt(20), 3));  // a full hit: the last block is run again
  EXPECT_THAT(harness.Step(), ElementsAre(Row{2, 16, 4, false, true}));
  harness.RunToEnd();
  harness.Add(MakeRequest(3, Prompt(23), 3));
  EXPECT_THAT(harness.Step(), ElementsAre(Row{3, 20, 3, false, true}));
  harness.RunToEnd();
  auto salted = MakeRequest(4, Prompt(20), 3);
  salted->cache_salt = "tenant";
  harness.Add(std::move(salted));
  EXPECT_THAT(harness.Step(), ElementsAre(Row{4, 0, 20, false, true}));
  harness.RunToEnd();
  EXPECT_EQ(harness.result(2).finish->cached_tokens, 16);
  EXPECT_EQ(harness.result(3).finish->cached_tokens, 20);
  EXPECT_EQ(harness.result(4).finish->cached_tokens, 0);
  EXPECT_EQ(harness.scheduler().totals().prefix_queries, 20 + 20 + 23 + 20);
  EXPECT_EQ(harness.scheduler().totals().prefix_hits, 16 + 20);
  harness.ExpectOutputs();
}

TEST(SchedulerMemoryTest, AConversationFindsItsOwnAnswer) {
  Harness harness(SmallConfig());
  harness.Add(MakeRequest(1, Prompt(10), 11));
  harness.RunToEnd();
  std::vector<TokenId> next = Prompt(10);
  const std::vector<TokenId>& answer = harness.result(1).tokens;
  next.insert(next.end(), answer.begin(), answer.end());
  next.push_back(5);
  harness.Add(MakeRequest(2, next, 3));  // 22 tokens, of which 20 were computed
  harness.RunToEnd();
  EXPECT_EQ(harness.result(2).finish->cached_tokens, 20);
  harness.ExpectOutputs();
}

TEST(SchedulerMemoryTest, EqualPromptsInOneBatchAreComputedOnce) {
  Harness harness(SmallConfig());
  for (SequenceId id = 1; id <= 4; ++id) {
    auto request = MakeRequest(id, Prompt(60), 3);
    request->sampling.temperature = 1;
    request->sampling.seed = id;
    harness.Add(std::move(request));
  }
  int32_t prefill = 0;
  while (!harness.scheduler().empty()) {
    for (const Row& row : harness.Step()) prefill += row.is_decode ? 0 : row.num_new_tokens;
  }
  EXPECT_EQ(prefill, 60 + 3 * 4);
  harness.ExpectOutputs();
}

TEST(SchedulerMemoryTest, WithoutPrefixCachingNobodyWaitsForAnother) {
  SchedulerConfig config = SmallConfig();
  config.enable_prefix_caching = false;
  Harness harness(config);
  harness.Add(MakeRequest(1, Prompt(12), 3));
  harness.Add(MakeRequest(2, Prompt(12), 3));
  EXPECT_THAT(harness.Step(), SizeIs(2));
  harness.RunToEnd();
  EXPECT_EQ(harness.scheduler().totals().prefix_queries, 0);
  harness.ExpectOutputs();
}

}  // namespace
}  // namespace tidal
