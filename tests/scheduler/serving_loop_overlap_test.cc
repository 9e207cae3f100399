// The serving loop with an executor that can run ahead: the step after the one in flight is
// launched before that one is collected.
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/serving_loop_fixture.h"

namespace tidal {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

class ServingLoopOverlapTest : public ServingLoopFixture {
 protected:
  void StartAhead() { StartLoop(OptionsFor(config_), /*can_run_ahead=*/true); }

  std::vector<TokenId> Expected(const std::vector<TokenId>& prompt, int32_t count) {
    return FakeExecutor(OptionsFor(config_)).ExpectedOutput(prompt, count, kGreedy);
  }
};

TEST_F(ServingLoopOverlapTest, LaunchesTheNextStepBeforeItCollectsThisOne) {
  StartAhead();
  auto stream = Submit(MakeRequest(1, Prompt(4), 6));
  executor_->AwaitEntered(1);
  EXPECT_EQ(executor_->num_launched(), 1) << "nothing is certain after a prompt";
  for (int32_t step = 2; step <= 5; ++step) {
    executor_->Permit(1);
    executor_->AwaitEntered(step);
    EXPECT_EQ(executor_->num_launched(), step + 1);
  }
  executor_->Permit(1);
  executor_->AwaitEntered(6);
  EXPECT_EQ(executor_->num_launched(), 6) << "the last one ends it by its length";
  executor_->Open();
  EXPECT_THAT(ReadAll(*stream).tokens, ElementsAreArray(Expected(Prompt(4), 6)));
}

TEST_F(ServingLoopOverlapTest, CanBeTurnedOff) {
  config_.overlap = false;
  StartAhead();
  auto stream = Submit(MakeRequest(1, Prompt(4), 6));
  executor_->Permit(3);
  executor_->AwaitEntered(4);
  EXPECT_EQ(executor_->num_launched(), 4);
  executor_->Open();
  EXPECT_THAT(ReadAll(*stream).tokens, ElementsAreArray(Expected(Prompt(4), 6)));
}

TEST_F(ServingLoopOverlapTest, ANewRequestWaitsForOneStepMore) {
  StartAhead();
  auto first = Submit(MakeRequest(1, Prompt(4), 40));
  executor_->Permit(3);
  executor_->AwaitEntered(4);  // the fourth and the fifth step are in flight
  auto second = Submit(MakeRequest(2, Prompt(4, 50), 40));
  executor_->Permit(2);
  executor_->AwaitEntered(6);
  EXPECT_EQ(executor_->num_launched(), 6) << "its prompt, alone in flight";
  executor_->Permit(1);
  executor_->AwaitEntered(7);
  EXPECT_EQ(loop_->stats().running, 2);
  executor_->Open();
  EXPECT_THAT(ReadAll(*first).tokens, ElementsAreArray(Expected(Prompt(4), 40)));
  EXPECT_THAT(ReadAll(*second).tokens, ElementsAreArray(Expected(Prompt(4, 50), 40)));
}

TEST_F(ServingLoopOverlapTest, CancelsWhileTwoStepsAreInFlight) {
  StartAhead();
  auto cancelled = Submit(MakeRequest(1, Prompt(4), 100));
  executor_->AwaitEntered(1);
  executor_->Permit(2);
  executor_->AwaitEntered(3);
  loop_->Cancel(1);
  executor_->Permit(2);  // the fourth step runs it too, for nobody
  const Result result = ReadAll(*cancelled);
  EXPECT_EQ(result.finish.reason, FinishReason::kCancelled);
  EXPECT_THAT(result.tokens, ElementsAreArray(Expected(Prompt(4), 3)));
  EXPECT_EQ(loop_->stats().free_blocks, 64);
  auto next = Submit(MakeRequest(2, Prompt(4, 70), 9));
  executor_->Open();
  EXPECT_THAT(ReadAll(*next).tokens, ElementsAreArray(Expected(Prompt(4, 70), 9)));
}

TEST_F(ServingLoopOverlapTest, AStopTokenEndsARequestThatHasARowInTheNextStep) {
  StartAhead();
  const std::vector<TokenId> tokens = Expected(Prompt(4), 30);
  auto request = MakeRequest(1, Prompt(4), 30);
  request->stop.stop_token_ids = {tokens[10]};
  executor_->Open();
  const Result result = ReadAll(*Submit(std::move(request)));
  EXPECT_EQ(result.finish.reason, FinishReason::kStop);
  EXPECT_EQ(result.tokens.size(), 11);
  EXPECT_EQ(loop_->stats().free_blocks, 64);
}

TEST_F(ServingLoopOverlapTest, DeadlinesAreChecked) {
  StartAhead();
  auto request = MakeRequest(1, Prompt(4), 100);
  request->deadline = Now() + absl::Seconds(10);
  auto stream = Submit(std::move(request));
  executor_->Permit(2);
  executor_->AwaitEntered(3);
  AdvanceClock(absl::Seconds(10));
  executor_->Permit(2);  // the two in flight
  EXPECT_EQ(ReadAll(*stream).finish.status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ServingLoopOverlapTest, AFailureOfEitherStepEndsEverything) {
  for (const int64_t step : {3, 4}) {
    FakeExecutorOptions options = OptionsFor(config_);
    options.fail_at_step = step;
    StartLoop(options, /*can_run_ahead=*/true);
    executor_->Open();
    const Result result = ReadAll(*Submit(MakeRequest(1, Prompt(4), 50)));
    EXPECT_EQ(result.finish.status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(result.finish.status.message()), HasSubstr("told to fail"));
    EXPECT_EQ(result.tokens.size(), step);
    EXPECT_FALSE(loop_->healthy());
    loop_->Stop();
  }
}

TEST_F(ServingLoopOverlapTest, StopCollectsWhatIsInFlight) {
  StartAhead();
  auto stream = Submit(MakeRequest(1, Prompt(4), 100));
  executor_->Permit(3);
  executor_->AwaitEntered(4);
  std::thread stopper([&] { loop_->Stop(); });
  AwaitClosed();
  executor_->Open();
  stopper.join();
  const Result result = ReadAll(*stream);
  EXPECT_EQ(result.finish.reason, FinishReason::kCancelled);
  EXPECT_THAT(result.tokens,
              ElementsAreArray(Expected(Prompt(4), static_cast<int32_t>(result.tokens.size()))));
}

TEST_F(ServingLoopOverlapTest, DrainCancelsAtItsDeadline) {
  StartAhead();
  auto stream = Submit(MakeRequest(1, Prompt(4), 190));
  executor_->Permit(3);
  executor_->AwaitEntered(4);
  std::thread drainer([&] { EXPECT_FALSE(loop_->Drain(absl::Now() + absl::Milliseconds(20))); });
  while (loop_->stats().running + loop_->stats().waiting > 0) {
    executor_->Permit(1);
    absl::SleepFor(absl::Milliseconds(1));
  }
  drainer.join();
  EXPECT_EQ(ReadAll(*stream).finish.reason, FinishReason::kCancelled);
  executor_->Open();
}

TEST_F(ServingLoopOverlapTest, ManyRequestsGetTheirOwnTokens) {
  config_.num_blocks = 24;
  config_.max_model_len = 90;
  config_.max_queued_requests = 1000;
  StartAhead();
  executor_->Open();
  RunClients(/*num_clients=*/3, /*each=*/60);
  EXPECT_TRUE(loop_->Drain(absl::InfiniteFuture()));
  EXPECT_EQ(loop_->stats().free_blocks, 24);
}

}  // namespace
}  // namespace tidal
