#include "scheduler/queue_budget.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

constexpr QueueLoad kNothing;

SchedulerConfig Config(int32_t max_requests, int64_t max_tokens) {
  SchedulerConfig config = SmallConfig();
  config.max_queued_requests = max_requests;
  config.max_queued_tokens = max_tokens;
  return config;
}

TenantLoads Waiting(const std::string& tenant, QueueLoad load) {
  TenantLoads loads;
  loads.Add(tenant, load);
  return loads;
}

// A minute in which so many tokens a second were served with a full queue.
void Measure(QueueBudget& budget, int64_t tokens_per_second) {
  for (int32_t i = 0; i < 600; ++i) {
    budget.OnStep(tokens_per_second / 10, absl::Milliseconds(100), /*full=*/true);
  }
}

TEST(QueueBudgetTest, BoundsRequestsAndTokens) {
  const QueueBudget budget(Config(10, 1000));
  const TenantLoads waiting = Waiting("", {8, 900});
  EXPECT_TRUE(budget.HasRoom(waiting, kNothing, "", {2, 100}));
  EXPECT_FALSE(budget.HasRoom(waiting, kNothing, "", {3, 100}));
  EXPECT_FALSE(budget.HasRoom(waiting, kNothing, "", {1, 101}));
}

TEST(QueueBudgetTest, TheFirstToWaitMayBeOfAnySize) {
  const QueueBudget budget(Config(10, 1000));
  EXPECT_TRUE(budget.HasRoom({}, kNothing, "", {128, 1'000'000}));
  EXPECT_FALSE(budget.HasRoom(Waiting("", {1, 1}), kNothing, "", {1, 1'000'000}));
}

TEST(QueueBudgetTest, ARequestThatCanStartAtOnceNeedsNoRoom) {
  const QueueBudget budget(Config(1, 10));
  const QueueLoad startable = {.requests = 4, .tokens = 400};
  const TenantLoads waiting = Waiting("", {3, 300});
  EXPECT_TRUE(budget.HasRoom(waiting, startable, "", {1, 100}));
  EXPECT_FALSE(budget.HasRoom(waiting, startable, "", {1, 101})) << "no cache";
  EXPECT_FALSE(budget.HasRoom(waiting, startable, "", {2, 100})) << "no seat";
}

TEST(QueueBudgetTest, ATenantThatFillsTheQueueLeavesRoomForOthers) {
  const QueueBudget budget(Config(12, 1200));
  TenantLoads waiting = Waiting("many", {12, 1200});
  EXPECT_FALSE(budget.HasRoom(waiting, kNothing, "many", {1, 1}));
  EXPECT_TRUE(budget.HasRoom(waiting, kNothing, "few", {6, 600}));
  EXPECT_FALSE(budget.HasRoom(waiting, kNothing, "few", {7, 600})) << "half of it, not more";
  waiting.Add("few", {6, 600});
  EXPECT_FALSE(budget.HasRoom(waiting, kNothing, "few", {1, 1}));
  EXPECT_TRUE(budget.HasRoom(waiting, kNothing, "third", {4, 400}));
  EXPECT_FALSE(budget.HasRoom(waiting, kNothing, "third", {4, 401}));
}

TEST(QueueBudgetTest, ManyTenantsTogetherStayBounded) {
  const QueueBudget budget(Config(1 << 30, 1000));
  TenantLoads waiting;
  for (int32_t tenant = 0; tenant < 1000; ++tenant) {
    const std::string name = absl::StrCat(tenant);
    while (budget.HasRoom(waiting, kNothing, name, {1, 1})) waiting.Add(name, {1, 1});
  }
  EXPECT_LE(waiting.total().tokens, 1000 * 7.5);  // 1 + 1/2 + ... + 1/1000
}

TEST(QueueBudgetTest, TheLimitIsWhatIsServedInHalfOfTheLongestWait) {
  SchedulerConfig config = Config(10, 0);
  config.max_queue_time = absl::Seconds(20);
  QueueBudget budget(config);
  EXPECT_EQ(budget.token_limit(), 64 * 4) << "not measured: as much as the cache holds";
  Measure(budget, 500);
  EXPECT_NEAR(budget.rate(), 500, 1);
  EXPECT_NEAR(static_cast<double>(budget.token_limit()), 5000, 10);
}

TEST(QueueBudgetTest, WithoutALongestWaitOnlyRequestsAreBounded) {
  QueueBudget budget(Config(10, 0));
  Measure(budget, 500);
  EXPECT_EQ(budget.token_limit(), std::numeric_limits<int64_t>::max());
}

TEST(QueueBudgetTest, TheRateFollowsTheModelAndForgetsStepsThatWereNotFull) {
  QueueBudget budget(Config(10, 0));
  budget.OnStep(1, absl::Seconds(10), /*full=*/false);
  EXPECT_EQ(budget.rate(), 0);
  Measure(budget, 1000);
  Measure(budget, 100);
  EXPECT_NEAR(budget.rate(), 100, 5);
  budget.OnStep(1, absl::Hours(1), /*full=*/false);
  EXPECT_NEAR(budget.rate(), 100, 5);
  budget.OnStep(10, -absl::Hours(1), /*full=*/true);
  EXPECT_NEAR(budget.rate(), 100, 5) << "time that runs backwards is no measurement";
}

TEST(QueueBudgetTest, ARequestWeighsItsPromptAndAUsualOutput) {
  QueueBudget budget(Config(10, 1000));
  EXPECT_EQ(budget.ExpectedTokens(100, 50), 150);
  EXPECT_EQ(budget.ExpectedTokens(100, 5000), 100 + 256) << "a guess, at first";
  for (int32_t i = 0; i < 1000; ++i) budget.OnOutput(20);
  EXPECT_EQ(budget.ExpectedTokens(100, 5000), 120);
  EXPECT_EQ(budget.ExpectedTokens(100, 5), 105);
}

TEST(QueueBudgetTest, EveryRefusedRequestIsToldALaterTime) {
  QueueBudget budget(Config(10, 1000));
  EXPECT_EQ(budget.RetryAfter(), absl::Seconds(1)) << "not measured";
  Measure(budget, 100);
  budget.OnRefusal(150);
  EXPECT_EQ(budget.RetryAfter(), absl::Seconds(2));
  budget.OnRefusal(150);
  EXPECT_EQ(budget.RetryAfter(), absl::Seconds(3));
  budget.OnStep(250, absl::Milliseconds(2500), /*full=*/true);
  EXPECT_EQ(budget.RetryAfter(), absl::Seconds(1));
  for (int32_t i = 0; i < 1000; ++i) budget.OnRefusal(1'000'000);
  EXPECT_EQ(budget.RetryAfter(), absl::Seconds(60));
  budget.OnStep(1, absl::Seconds(1), /*full=*/false);
  EXPECT_EQ(budget.RetryAfter(), absl::Seconds(1)) << "nothing waits any more";
}

}  // namespace
}  // namespace tidal
