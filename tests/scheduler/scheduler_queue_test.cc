// Who waits for whom: turns of tenants, the longest wait, and what the queue is said to hold.
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/scheduler.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<Request> RequestOf(const std::string& tenant, SequenceId id, int32_t prompt_tokens,
                                   int32_t max_tokens) {
  auto request =
      MakeRequest(id, Prompt(prompt_tokens, 10 * static_cast<TokenId>(id % 90)), max_tokens);
  request->tenant = tenant;
  request->expected_tokens = prompt_tokens + max_tokens;
  return request;
}

SchedulerConfig OneSeat() {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 1;
  return config;
}

TEST(SchedulerQueueTest, ATenantWithOneRequestIsNotBehindAThousand) {
  Harness harness(OneSeat());
  for (SequenceId id = 1; id <= 1000; ++id) harness.Add(RequestOf("many", id, 3, 1));
  harness.Step();
  harness.Add(RequestOf("one", 2000, 3, 1));
  EXPECT_EQ(harness.Step().at(0).id, 2000);
  EXPECT_EQ(harness.Step().at(0).id, 2);
}

TEST(SchedulerQueueTest, TenantsTakeTurnsAndPrioritiesComeFirst) {
  Harness harness(OneSeat());
  for (SequenceId id = 1; id <= 3; ++id) harness.Add(RequestOf("a", id, 3, 1));
  for (SequenceId id = 4; id <= 6; ++id) harness.Add(RequestOf("b", id, 3, 1));
  auto urgent = RequestOf("a", 7, 3, 1);
  urgent->priority = -1;
  harness.Add(std::move(urgent));
  std::vector<SequenceId> order;
  while (!harness.scheduler().empty()) order.push_back(harness.Step().at(0).id);
  EXPECT_THAT(order, ElementsAre(7, 1, 4, 2, 5, 3, 6));
}

TEST(SchedulerQueueTest, AWaitThatIsTooLongEndsARequestUncomputed) {
  SchedulerConfig config = OneSeat();
  config.max_queue_time = absl::Seconds(10);
  Harness harness(config);
  harness.Add(MakeRequest(1, Prompt(4, 100), 50));
  harness.Step();
  harness.Add(MakeRequest(2, Prompt(4, 200), 50));
  harness.now += absl::Seconds(10);
  harness.Step();
  ASSERT_TRUE(harness.finished(2));
  const FinishInfo& info = *harness.result(2).finish;
  EXPECT_EQ(info.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(info.status.message(), HasSubstr("waited for 10s"));
  EXPECT_EQ(info.first_scheduled, absl::InfinitePast());
  harness.RunToEnd();
  EXPECT_EQ(harness.result(1).tokens.size(), 50) << "what runs does not wait";
}

TEST(SchedulerQueueTest, APreemptedRequestHasHadItsWait) {
  SchedulerConfig config = TinyPoolConfig();
  config.max_queue_time = absl::Seconds(10);
  Harness harness(config);
  harness.Add(MakeRequest(1, Prompt(4, 100), 30));
  harness.Add(MakeRequest(2, Prompt(4, 200), 30));
  while (harness.scheduler().totals().preemptions == 0) harness.Step();
  harness.now += absl::Hours(1);
  harness.RunToEnd();
  harness.ExpectOutputs();
  EXPECT_EQ(harness.result(2).tokens.size(), 30);
}

TEST(SchedulerQueueTest, ADeadlineInTheQueueComesBeforeTheLongestWait) {
  SchedulerConfig config = OneSeat();
  config.max_queue_time = absl::Seconds(10);
  Harness harness(config);
  harness.Add(MakeRequest(1, Prompt(4, 100), 50));
  harness.Step();
  auto request = MakeRequest(2, Prompt(4, 200), 50);
  request->deadline = harness.now + absl::Seconds(5);
  harness.Add(std::move(request));
  harness.now += absl::Seconds(5);
  harness.Step();
  ASSERT_TRUE(harness.finished(2));
  EXPECT_EQ(harness.result(2).finish->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(harness.result(2).finish->first_scheduled, absl::InfinitePast());
}

TEST(SchedulerQueueTest, TellsWhatWaitsAndWhatCouldStart) {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 2;
  Harness harness(config);
  const Scheduler& scheduler = harness.scheduler();
  EXPECT_EQ(scheduler.startable(), (QueueLoad{2, 256}));
  harness.Add(RequestOf("a", 1, 8, 20));
  harness.Add(RequestOf("a", 2, 8, 20));
  harness.Add(RequestOf("b", 3, 8, 20));
  EXPECT_EQ(scheduler.waiting_load().total(), (QueueLoad{3, 84}));
  EXPECT_EQ(scheduler.waiting_load().num_tenants(), 2);
  harness.Step();
  EXPECT_EQ(scheduler.waiting_load().total(), (QueueLoad{1, 28})) << "a and b took the seats";
  EXPECT_EQ(scheduler.waiting_load().Of("a"), (QueueLoad{1, 28}));
  EXPECT_EQ(scheduler.waiting_load().Of("b"), QueueLoad());
  EXPECT_EQ(scheduler.startable(), (QueueLoad{0, 240}));
  harness.Abort(2);
  EXPECT_EQ(scheduler.waiting_load().total(), QueueLoad());
  harness.RunToEnd();
  EXPECT_EQ(scheduler.startable(), (QueueLoad{2, 256}));
}

// Whatever tenants ask for, cancel and lose by preemption: those who always have requests waiting
// get equal parts of the model, and at the end nothing is left of anybody.
TEST(SchedulerQueueTest, RandomTenantsShareTheModel) {
  constexpr int32_t kSteps = 3000;
  for (int32_t seed = 0; seed < 8; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto uniform = [&](int32_t low, int32_t high) {
      return std::uniform_int_distribution<int32_t>(low, high)(random);
    };
    SchedulerConfig config = SmallConfig();
    config.num_blocks = uniform(16, 40);
    config.max_model_len = config.num_blocks * config.block_size;
    config.max_num_seqs = uniform(1, 6);
    Harness harness(config);
    harness.overlap = seed % 2 == 1;
    std::map<std::string, std::vector<SequenceId>> asked;
    SequenceId next_id = 1;
    const auto top_up = [&](const std::string& tenant, int32_t wanted, int32_t most_tokens) {
      while (harness.scheduler().waiting_load().Of(tenant).requests < wanted) {
        asked[tenant].push_back(next_id);
        harness.Add(RequestOf(tenant, next_id++, uniform(1, most_tokens), uniform(1, 12)));
      }
    };
    for (int32_t step = 0; step < kSteps && !HasFailure(); ++step) {
      top_up("greedy", 30, 20);
      top_up("modest", 3, 8);
      top_up("other", 3, 30);
      if (uniform(1, 4) == 1) top_up("visitor", 1, 8);
      if (uniform(1, 20) == 1) {
        // One of the last, which waits or runs.
        const std::vector<SequenceId>& ids = asked["visitor"];
        if (!ids.empty()) harness.Abort(ids.back());
      }
      harness.Step();
    }
    std::map<std::string, int64_t> served;
    for (const auto& [tenant, ids] : asked) {
      for (SequenceId id : ids) {
        if (harness.finished(id))
          served[tenant] +=
              harness.result(id).finish->output_tokens + harness.result(id).finish->prompt_tokens;
      }
    }
    const auto share = static_cast<double>(served["greedy"]);
    EXPECT_NEAR(static_cast<double>(served["modest"]), share, 0.1 * share);
    EXPECT_NEAR(static_cast<double>(served["other"]), share, 0.1 * share);
    harness.RunToEnd();
    harness.ExpectOutputs();
    EXPECT_EQ(harness.scheduler().waiting_load().total(), QueueLoad());
    EXPECT_EQ(harness.scheduler().waiting_load().num_tenants(), 0);
  }
}

}  // namespace
}  // namespace tidal
