// What goes wrong around the loop: executors that fail or hang, clocks that are set, queues that
// fill. However it ends, every stream has ended and every block is back.
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/retry_after.h"
#include "scheduler/steady_time.h"
#include "tests/scheduler/serving_loop_fixture.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;

class ServingLoopFaultTest : public ServingLoopFixture {
 protected:
  // Nothing runs, waits or holds memory.
  void ExpectNothingLeft() {
    const LoopStats stats = loop_->stats();
    EXPECT_EQ(stats.running + stats.waiting, 0);
    EXPECT_EQ(stats.queue.waiting, QueueLoad());
    EXPECT_EQ(stats.free_blocks, config_.num_blocks);
    EXPECT_EQ(stats.kv_cache_usage, 0);
  }
};

TEST_F(ServingLoopFaultTest, AFailureAtAnyStepLeavesNothingBehind) {
  config_.num_blocks = 12;  // preemptions among the steps
  config_.max_model_len = 48;
  config_.max_num_seqs = 4;
  for (const bool can_run_ahead : {false, true}) {
    for (int64_t failing = 0; failing < 40; ++failing) {
      SCOPED_TRACE(failing);
      FakeExecutorOptions options = OptionsFor(config_);
      options.fail_at_step = failing;
      StartLoop(options, can_run_ahead);
      std::vector<std::shared_ptr<TokenStream>> streams;
      for (SequenceId id = 1; id <= 6; ++id) {
        auto request = MakeRequest(id, Prompt(8, 100 * static_cast<TokenId>(id)), 40);
        streams.push_back(request->stream);
        if (!loop_->Submit(std::move(request)).ok()) streams.pop_back();
      }
      executor_->Open();
      for (auto& stream : streams) {
        const Result result = ReadAll(*stream);
        EXPECT_EQ(result.finish.status.code(), absl::StatusCode::kUnavailable);
      }
      EXPECT_FALSE(loop_->healthy());
      ExpectNothingLeft();
      EXPECT_TRUE(loop_->Drain(absl::InfiniteFuture()));
      loop_.reset();
    }
  }
}

TEST_F(ServingLoopFaultTest, AStepThatHangsShowsWhatRunsAndEndsWhenItEnds) {
  StartLoop(OptionsFor(config_));
  auto stream = Submit(MakeRequest(1, Prompt(6), 3));
  executor_->AwaitEntered(1);
  const LoopStats stats = loop_->stats();
  EXPECT_EQ(stats.step_sequences, 1);
  EXPECT_EQ(stats.step_tokens, 6);
  AdvanceClock(absl::Hours(2));
  EXPECT_EQ(Now() - loop_->last_progress(), absl::Hours(2));
  executor_->Open();
  EXPECT_EQ(ReadAll(*stream).finish.reason, FinishReason::kLength);
  EXPECT_EQ(loop_->last_progress(), Now());
  EXPECT_EQ(loop_->stats().step_sequences, 0);
  ExpectNothingLeft();
}

TEST_F(ServingLoopFaultTest, ADeadlineThatPassesInTheQueueIsNeverComputed) {
  config_.max_num_seqs = 1;
  StartLoop(OptionsFor(config_));
  auto running = Submit(MakeRequest(1, Prompt(4), 10));
  executor_->AwaitEntered(1);
  auto request = MakeRequest(2, Prompt(4, 100), 10);
  request->deadline = Now() + absl::Seconds(1);
  auto queued = Submit(std::move(request));
  AdvanceClock(absl::Seconds(1));  // while a step runs
  executor_->Permit(2);            // that one, and the one before which it ends
  const Result result = ReadAll(*queued);
  EXPECT_EQ(result.finish.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(result.finish.first_scheduled, absl::InfinitePast());
  executor_->Open();
  EXPECT_EQ(ReadAll(*running).tokens.size(), 10);
  ExpectNothingLeft();
}

// SteadyNow() does not jump; should a clock do, nothing breaks but what it measures.
TEST_F(ServingLoopFaultTest, SurvivesAClockThatJumps) {
  config_.max_queue_time = absl::Seconds(30);
  StartLoop(OptionsFor(config_));
  for (const absl::Duration jump : {absl::Hours(1), -absl::Hours(1), -absl::Hours(1)}) {
    auto request = MakeRequest(1, Prompt(4), 20);
    request->arrival = Now();
    auto without_deadline = Submit(std::move(request));
    request = MakeRequest(2, Prompt(4, 100), 20);
    request->arrival = Now();
    request->deadline = Now() + absl::Minutes(1);
    auto with_deadline = Submit(std::move(request));
    executor_->AwaitEntered(1);
    AdvanceClock(jump);
    executor_->Open();
    EXPECT_EQ(ReadAll(*without_deadline).tokens.size(), 20);
    const Result result = ReadAll(*with_deadline);
    EXPECT_TRUE(result.finish.status.ok() || absl::IsDeadlineExceeded(result.finish.status));
    ExpectNothingLeft();
    EXPECT_GE(loop_->stats().queue.tokens_per_second, 0);
  }
  EXPECT_TRUE(loop_->Drain(absl::InfiniteFuture()));
}

TEST_F(ServingLoopFaultTest, ADrainEndsOnTimeWhateverTheLoopsClockSays) {
  StartLoop(OptionsFor(config_));
  auto stream = Submit(MakeRequest(1, Prompt(4), 190));
  executor_->AwaitEntered(1);
  AdvanceClock(-absl::Hours(1));
  std::thread opener([&] {
    AwaitClosed();
    absl::SleepFor(absl::Milliseconds(50));
    executor_->Permit(1);
  });
  EXPECT_FALSE(loop_->Drain(SteadyNow() + absl::Milliseconds(20)));
  opener.join();
  EXPECT_EQ(ReadAll(*stream).finish.status.code(), absl::StatusCode::kUnavailable);
  ExpectNothingLeft();
}

TEST_F(ServingLoopFaultTest, AFullQueueRefusesByTokensWithATimeToComeAgain) {
  config_.max_num_seqs = 1;
  config_.max_queued_tokens = 100;
  StartLoop(OptionsFor(config_));
  std::vector<std::shared_ptr<TokenStream>> streams = {Submit(MakeRequest(1, Prompt(4), 50))};
  executor_->AwaitEntered(1);
  executor_->Permit(1);
  executor_->AwaitEntered(2);  // it runs, nobody waits
  streams.push_back(Submit(MakeRequest(2, Prompt(30, 100), 30)));
  streams.push_back(Submit(MakeRequest(3, Prompt(30, 200), 10)));
  const absl::Status refused = loop_->Submit(MakeRequest(4, Prompt(1), 1));
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_THAT(refused.message(), HasSubstr("2 requests of 100 tokens are waiting"));
  EXPECT_EQ(RetryAfterOf(refused), 1);
  EXPECT_TRUE(absl::IsResourceExhausted(loop_->CheckRoom("", 1, 1)));
  EXPECT_TRUE(loop_->CheckRoom("another", 1, 1).ok()) << "a tenant's share is its own";
  EXPECT_GE(loop_->stats().queue.fullness(), 1);
  executor_->Open();
  for (auto& stream : streams) EXPECT_EQ(ReadAll(*stream).finish.reason, FinishReason::kLength);
  EXPECT_TRUE(loop_->CheckRoom("", 1, 1).ok());
  ExpectNothingLeft();
}

TEST_F(ServingLoopFaultTest, ManyOutputsAreTakenTogetherOrNotAtAll) {
  config_.max_num_seqs = 1;
  config_.max_queued_requests = 3;
  StartLoop(OptionsFor(config_));
  const auto outputs = [](SequenceId first, int32_t count) {
    std::vector<std::unique_ptr<Request>> requests;
    for (SequenceId id = first; id < first + count; ++id) {
      requests.push_back(MakeRequest(id, Prompt(4), 2));
    }
    return requests;
  };
  auto all = outputs(1, 128);
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (const auto& request : all) streams.push_back(request->stream);
  EXPECT_TRUE(loop_->Submit(std::move(all)).ok()) << "nothing waits, so any number may";
  EXPECT_TRUE(absl::IsResourceExhausted(loop_->Submit(outputs(200, 2))));
  executor_->Open();
  for (auto& stream : streams) EXPECT_EQ(ReadAll(*stream).tokens.size(), 2);
  ExpectNothingLeft();
}

}  // namespace
}  // namespace tidal
