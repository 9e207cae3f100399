#include "scheduler/serving_loop.h"

#include <memory>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/serving_loop_fixture.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(ServingLoopTest, StreamsTheTokensOfARequest) {
  const SchedulerConfig config = SmallConfig();
  FakeExecutor executor(OptionsFor(config));
  ServingLoop loop(config, &executor, {});
  loop.Start();
  auto request = MakeRequest(1, Prompt(50, 7), 20);
  auto stream = request->stream;
  ASSERT_TRUE(loop.Submit(std::move(request)).ok());
  const Result result = ReadAll(*stream);
  EXPECT_THAT(result.tokens, ElementsAreArray(executor.ExpectedOutput(Prompt(50, 7), 20, kGreedy)));
  EXPECT_EQ(result.finish.reason, FinishReason::kLength);
  EXPECT_TRUE(result.finish.status.ok());
  EXPECT_EQ(result.finish.prompt_tokens, 50);
  EXPECT_EQ(result.finish.output_tokens, 20);
  EXPECT_EQ(result.finish.dense_steps, 19);
}

TEST_F(ServingLoopFixture, TellsTheObserverAndFillsTheStats) {
  StartLoop(OptionsFor(config_));
  executor_->Open();
  EXPECT_EQ(ReadAll(*Submit(MakeRequest(1, Prompt(40), 3))).tokens.size(), 3);
  EXPECT_EQ(ReadAll(*Submit(MakeRequest(2, Prompt(40), 3))).tokens.size(), 3);
  // What the end of a stream promises: the numbers already include it.
  const LoopStats stats = loop_->stats();
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.waiting, 0);
  EXPECT_EQ(stats.free_blocks, 64);
  EXPECT_EQ(stats.num_blocks, 64);
  EXPECT_EQ(stats.kv_cache_usage, 0);
  EXPECT_EQ(stats.prefix_queries, 80);
  EXPECT_EQ(stats.prefix_hits, 36);
  EXPECT_EQ(stats.steps, 4 + 3);
  EXPECT_EQ(tokens_run(), 40 + 2 + 4 + 2);
  EXPECT_THAT(finished(),
              ElementsAre(Pair(1, FinishReason::kLength), Pair(2, FinishReason::kLength)));
}

TEST_F(ServingLoopFixture, StatsShowWhatRunsAndWaits) {
  config_.max_num_seqs = 1;
  StartLoop(OptionsFor(config_));
  auto first = Submit(MakeRequest(1, Prompt(8), 5));
  executor_->AwaitEntered(1);
  auto second = Submit(MakeRequest(2, Prompt(8, 100), 5));
  EXPECT_EQ(loop_->stats().waiting, 2) << "in a first step that is not over, and in the inbox";
  executor_->Permit(2);
  executor_->AwaitEntered(3);
  const LoopStats stats = loop_->stats();
  EXPECT_EQ(stats.running, 1);
  EXPECT_EQ(stats.waiting, 1);
  EXPECT_EQ(stats.free_blocks, 61);
  EXPECT_DOUBLE_EQ(stats.kv_cache_usage, 3.0 / 64);
  executor_->Open();
  EXPECT_EQ(ReadAll(*first).tokens.size(), 5);
  EXPECT_EQ(ReadAll(*second).tokens.size(), 5);
}

TEST_F(ServingLoopFixture, RefusesWhatCouldNeverFinish) {
  StartLoop(OptionsFor(config_));
  EXPECT_EQ(loop_->Submit(MakeRequest(1, {}, 1)).code(), absl::StatusCode::kInvalidArgument);
  const absl::Status status = loop_->Submit(MakeRequest(1, Prompt(150), 100));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("at most 200 tokens, got 150 + 100"));
}

TEST_F(ServingLoopFixture, RefusesWhenTheQueueIsFullAndRecovers) {
  config_.max_num_seqs = 1;
  config_.max_queued_requests = 3;
  StartLoop(OptionsFor(config_));
  std::vector<std::shared_ptr<TokenStream>> streams;
  streams.push_back(Submit(MakeRequest(1, Prompt(4), 2)));
  executor_->AwaitEntered(1);
  executor_->Permit(1);
  executor_->AwaitEntered(2);  // 1 runs, nobody waits
  for (SequenceId id = 2; id <= 4; ++id) streams.push_back(Submit(MakeRequest(id, Prompt(4), 2)));
  EXPECT_EQ(loop_->Submit(MakeRequest(5, Prompt(4), 2)).code(),
            absl::StatusCode::kResourceExhausted);
  executor_->Open();
  for (auto& stream : streams) EXPECT_EQ(ReadAll(*stream).finish.reason, FinishReason::kLength);
  EXPECT_EQ(ReadAll(*Submit(MakeRequest(5, Prompt(4), 2))).tokens.size(), 2);
}

TEST_F(ServingLoopFixture, CancelEndsARequestAtTheNextStep) {
  StartLoop(OptionsFor(config_));
  auto stream = Submit(MakeRequest(1, Prompt(4), 100));
  executor_->Permit(3);
  executor_->AwaitEntered(4);
  loop_->Cancel(1);
  loop_->Cancel(77);
  executor_->Permit(1);  // the step that runs is finished
  const Result result = ReadAll(*stream);
  EXPECT_EQ(result.finish.reason, FinishReason::kCancelled);
  EXPECT_EQ(result.finish.status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(result.tokens.size(), 4);
  EXPECT_EQ(loop_->stats().free_blocks, 64);
  loop_->Cancel(1);  // ended: ignored
}

TEST_F(ServingLoopFixture, ARequestCancelledRightAwayStillEnds) {
  StartLoop(OptionsFor(config_));
  executor_->Open();
  auto stream = Submit(MakeRequest(1, Prompt(4), 150));
  loop_->Cancel(1);
  EXPECT_NE(ReadAll(*stream).finish.reason, FinishReason::kError);
}

TEST_F(ServingLoopFixture, DeadlinesAreCheckedEachStep) {
  StartLoop(OptionsFor(config_));
  auto request = MakeRequest(1, Prompt(4), 100);
  request->deadline = Now() + absl::Seconds(10);
  auto stream = Submit(std::move(request));
  executor_->Permit(2);
  executor_->AwaitEntered(3);
  AdvanceClock(absl::Seconds(10));
  executor_->Permit(1);
  const Result result = ReadAll(*stream);
  EXPECT_EQ(result.finish.reason, FinishReason::kCancelled);
  EXPECT_EQ(result.finish.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(result.finish.finish, absl::UnixEpoch() + absl::Seconds(10));
}

TEST_F(ServingLoopFixture, DrainLetsRequestsFinishAndRefusesNewOnes) {
  StartLoop(OptionsFor(config_));
  auto stream = Submit(MakeRequest(1, Prompt(4), 30));
  executor_->AwaitEntered(1);
  std::thread drainer([&] { EXPECT_TRUE(loop_->Drain(absl::InfiniteFuture())); });
  AwaitClosed();
  executor_->Open();
  drainer.join();
  const Result result = ReadAll(*stream);
  EXPECT_EQ(result.finish.reason, FinishReason::kLength);
  EXPECT_EQ(result.tokens.size(), 30);
  EXPECT_TRUE(loop_->healthy()) << "the loop still runs, idle";
  EXPECT_TRUE(loop_->Drain(absl::InfinitePast())) << "nothing is left";
}

TEST_F(ServingLoopFixture, DrainCancelsWhatIsLeftAtItsDeadline) {
  StartLoop(OptionsFor(config_));
  auto first = Submit(MakeRequest(1, Prompt(4), 190));
  auto second = Submit(MakeRequest(2, Prompt(4, 50), 190));
  executor_->AwaitEntered(1);
  std::thread drainer([&] { EXPECT_FALSE(loop_->Drain(absl::Now() + absl::Milliseconds(20))); });
  // Steps one by one until the deadline has passed: at most 190 are possible.
  while (loop_->stats().running + loop_->stats().waiting > 0) {
    executor_->Permit(1);
    absl::SleepFor(absl::Milliseconds(1));
  }
  drainer.join();
  for (auto* stream : {first.get(), second.get()}) {
    const Result result = ReadAll(*stream);
    EXPECT_EQ(result.finish.reason, FinishReason::kCancelled);
    EXPECT_EQ(result.finish.status.code(), absl::StatusCode::kUnavailable);
    EXPECT_LT(result.tokens.size(), 190);
  }
  EXPECT_EQ(loop_->stats().free_blocks, 64);
}

TEST_F(ServingLoopFixture, StopCancelsWhatIsLeft) {
  StartLoop(OptionsFor(config_));
  auto running = Submit(MakeRequest(1, Prompt(4), 100));
  executor_->AwaitEntered(1);
  auto queued = Submit(MakeRequest(2, Prompt(4), 100));
  std::thread stopper([&] { loop_->Stop(); });
  AwaitClosed();
  executor_->Open();
  stopper.join();
  EXPECT_EQ(ReadAll(*running).finish.reason, FinishReason::kCancelled);
  EXPECT_EQ(ReadAll(*queued).finish.reason, FinishReason::kCancelled);
  EXPECT_FALSE(loop_->healthy());
  EXPECT_EQ(loop_->Submit(MakeRequest(9, Prompt(1), 1)).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(loop_->stats().running, 0);
  loop_->Stop();  // again: nothing to do
}

TEST_F(ServingLoopFixture, IsUsableOnlyAfterStart) {
  executor_ = std::make_unique<GatedExecutor>(OptionsFor(config_));
  ServingLoop loop(config_, executor_.get(), {});
  EXPECT_FALSE(loop.healthy());
  EXPECT_EQ(loop.Submit(MakeRequest(1, Prompt(1), 1)).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(loop.stats().num_blocks, 64);
  loop.Start();
  EXPECT_TRUE(loop.healthy());
  EXPECT_TRUE(loop.Drain(absl::InfinitePast()));
}

TEST_F(ServingLoopFixture, AFailingExecutorEndsEverythingAndStaysBroken) {
  FakeExecutorOptions options = OptionsFor(config_);
  options.fail_at_step = 3;
  config_.max_num_seqs = 2;
  StartLoop(options);
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (SequenceId id = 1; id <= 5; ++id) {
    streams.push_back(Submit(MakeRequest(id, Prompt(4, 100 * id), 50)));
  }
  executor_->Open();
  for (auto& stream : streams) {
    const Result result = ReadAll(*stream);
    EXPECT_EQ(result.finish.reason, FinishReason::kError);
    EXPECT_EQ(result.finish.status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(result.finish.status.message(), HasSubstr("told to fail"));
  }
  EXPECT_FALSE(loop_->healthy());
  const absl::Status status = loop_->Submit(MakeRequest(9, Prompt(1), 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("told to fail"));
  EXPECT_TRUE(loop_->Drain(absl::InfiniteFuture())) << "nothing is left";
  loop_->Cancel(1);
  loop_->Stop();
  EXPECT_THAT(failure().message(), HasSubstr("told to fail"));
  EXPECT_EQ(loop_->stats().running + loop_->stats().waiting, 0);
}

TEST_F(ServingLoopFixture, ProgressIsNowWhileIdleAndStandsStillInAStep) {
  StartLoop(OptionsFor(config_));
  AwaitStats([](const LoopStats& stats) { return stats.num_blocks > 0; });
  AdvanceClock(absl::Hours(1));
  // It may still be on its way to sleep, so wait for it.
  while (loop_->last_progress() != Now()) absl::SleepFor(absl::Milliseconds(1));
  AdvanceClock(absl::Hours(1));
  EXPECT_EQ(loop_->last_progress(), Now());
  auto stream = Submit(MakeRequest(1, Prompt(4), 2));
  executor_->AwaitEntered(1);
  const absl::Time entered = Now();
  AdvanceClock(absl::Minutes(5));
  EXPECT_EQ(loop_->last_progress(), entered) << "a step that hangs shows";
  executor_->Permit(1);
  executor_->AwaitEntered(2);
  EXPECT_EQ(loop_->last_progress(), Now());
  executor_->Open();
  ReadAll(*stream);
}

TEST_F(ServingLoopFixture, ConcurrentClientsGetTheirOwnTokens) {
  config_.num_blocks = 24;
  config_.max_model_len = 90;
  config_.max_queued_requests = 10000;
  StartLoop(OptionsFor(config_));
  executor_->Open();
  constexpr int32_t kClients = 4, kEach = 60;
  const int32_t complete = RunClients(kClients, kEach);
  EXPECT_GE(complete, kClients * kEach * 2 / 3);
  EXPECT_EQ(finished().size(), kClients * kEach);
  EXPECT_TRUE(loop_->Drain(absl::InfiniteFuture()));
  const LoopStats stats = loop_->stats();
  EXPECT_EQ(stats.free_blocks, 24);
  EXPECT_EQ(stats.running + stats.waiting, 0);
}

}  // namespace
}  // namespace tidal
