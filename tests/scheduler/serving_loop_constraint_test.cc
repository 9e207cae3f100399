// The serving loop and steps that wait for their masks: the next step is launched before this one
// is collected, and its masks come once this one is committed.
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/fake_constraint.h"
#include "tests/scheduler/serving_loop_fixture.h"

namespace tidal {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class ServingLoopConstraintTest : public ServingLoopFixture {
 protected:
  void StartAhead() { StartLoop(OptionsFor(config_), /*can_run_ahead=*/true); }

  std::unique_ptr<Request> Constrained(SequenceId id, int32_t max_tokens,
                                       const FakeConstraint::Rule& rule = {}) {
    auto request = MakeRequest(id, Prompt(4, static_cast<TokenId>(10 * id)), max_tokens);
    request->constraint = std::make_shared<FakeConstraint>(rule);
    return request;
  }
  // Tokens that the fake executor says after the prompt, with the rule in its way.
  std::vector<TokenId> Expected(const Request& request, size_t count) {
    const FakeExecutor executor(OptionsFor(config_));
    const auto& constraint = static_cast<const FakeConstraint&>(*request.constraint);
    std::vector<TokenId> tokens = request.prompt;
    for (size_t place = 0; place < count; ++place) {
      TokenId token = executor.NextToken(tokens, kGreedy);
      while (!constraint.Allows(static_cast<int32_t>(place), token)) {
        token = (token + 1) % kTestVocabSize;
      }
      tokens.push_back(token);
    }
    return {tokens.begin() + static_cast<int64_t>(request.prompt.size()), tokens.end()};
  }
};

TEST_F(ServingLoopConstraintTest, MasksComeAfterTheStepBeforeIsCommitted) {
  StartAhead();
  executor_->Open();
  auto request = Constrained(1, 5);
  const Request copy = *request;
  EXPECT_THAT(ReadAll(*Submit(std::move(request))).tokens, ElementsAreArray(Expected(copy, 5)));
  // The prompt; then steps that are launched ahead, but for the first one.
  EXPECT_EQ(executor_->calls(),
            "MSC"
            "MS"
            "MCS"
            "MCS"
            "MCS"
            "C");
}

TEST_F(ServingLoopConstraintTest, WithoutOverlapThereIsOneStepAtATime) {
  config_.overlap = false;
  StartAhead();
  executor_->Open();
  auto request = Constrained(1, 4);
  const Request copy = *request;
  EXPECT_THAT(ReadAll(*Submit(std::move(request))).tokens, ElementsAreArray(Expected(copy, 4)));
  EXPECT_EQ(executor_->calls(),
            "MSC"
            "MSC"
            "MSC"
            "MSC");
}

TEST_F(ServingLoopConstraintTest, AnExecutorThatCannotRunAheadIsSampledAtOnce) {
  StartLoop(OptionsFor(config_), /*can_run_ahead=*/false);
  executor_->Open();
  EXPECT_THAT(ReadAll(*Submit(Constrained(1, 2))).tokens, SizeIs(2));
  EXPECT_EQ(executor_->calls(), "MSCMSC");
}

TEST_F(ServingLoopConstraintTest, UnmaskedStepsSampleByThemselves) {
  StartAhead();
  executor_->Open();
  EXPECT_THAT(ReadAll(*Submit(MakeRequest(1, Prompt(4), 4))).tokens, SizeIs(4));
  EXPECT_EQ(executor_->calls(),
            "LC"
            "L"
            "LC"
            "LC"
            "C");
}

// The chunks of a prompt want no token.
TEST_F(ServingLoopConstraintTest, ChunksOfAConstrainedPromptAreNotMasked) {
  StartAhead();
  executor_->Open();
  auto request = Constrained(1, 1);
  request->prompt = Prompt(80);
  EXPECT_THAT(ReadAll(*Submit(std::move(request))).tokens, SizeIs(1));
  EXPECT_EQ(executor_->calls(),
            "LC"
            "LC"
            "MSC");
}

// The step in flight runs it once more, for nobody.
TEST_F(ServingLoopConstraintTest, ACompleteOneHasARowInTheNextStep) {
  StartAhead();
  executor_->Open();
  auto request = Constrained(1, 50, {.length = 3});
  const Request copy = *request;
  const Result result = ReadAll(*Submit(std::move(request)));
  EXPECT_EQ(result.finish.reason, FinishReason::kStop);
  EXPECT_THAT(result.tokens, ElementsAreArray(Expected(copy, 3)));
  EXPECT_TRUE(loop_->Drain(absl::InfiniteFuture()));
  loop_->Stop();
  EXPECT_EQ(executor_->calls(),
            "MSC"
            "MS"
            "MCS"
            "MCS"
            "C");
  EXPECT_EQ(loop_->stats().free_blocks, 64);
}

TEST_F(ServingLoopConstraintTest, CancelledBeforeTheMasksOfTheNextStep) {
  StartAhead();
  auto stream = Submit(Constrained(1, 100));
  executor_->Permit(2);
  executor_->AwaitEntered(3);  // the fourth step is launched and waits for its masks
  loop_->Cancel(1);
  executor_->Open();
  const Result result = ReadAll(*stream);
  EXPECT_EQ(result.finish.reason, FinishReason::kCancelled);
  EXPECT_THAT(result.tokens, SizeIs(3));
  EXPECT_THAT(ReadAll(*Submit(Constrained(2, 9))).tokens, SizeIs(9)) << "and it goes on";
  EXPECT_EQ(loop_->stats().free_blocks, 64);
}

TEST_F(ServingLoopConstraintTest, ARefusedTokenEndsOneRequest) {
  StartAhead();
  auto other = Submit(Constrained(1, 40));
  auto refused = Submit(Constrained(2, 40, {.refused_at = 6}));
  executor_->Open();
  const Result result = ReadAll(*refused);
  EXPECT_EQ(result.finish.status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(result.tokens, SizeIs(7));
  EXPECT_THAT(ReadAll(*other).tokens, SizeIs(40));
  EXPECT_TRUE(loop_->healthy());
  EXPECT_EQ(loop_->stats().free_blocks, 64);
}

TEST_F(ServingLoopConstraintTest, AFailureOfEitherStepEndsEverything) {
  for (const int64_t step : {0, 1, 3, 4}) {
    FakeExecutorOptions options = OptionsFor(config_);
    options.fail_at_step = step;
    StartLoop(options, /*can_run_ahead=*/true);
    executor_->Open();
    const Result result = ReadAll(*Submit(Constrained(1, 50)));
    EXPECT_EQ(result.finish.status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(result.finish.status.message()), HasSubstr("told to fail"));
    EXPECT_THAT(result.tokens, SizeIs(step));
    loop_->Stop();
  }
}

TEST_F(ServingLoopConstraintTest, StopGivesTheStepInFlightItsMasks) {
  StartAhead();
  auto stream = Submit(Constrained(1, 100));
  executor_->Permit(3);
  executor_->AwaitEntered(4);
  std::thread stopper([&] { loop_->Stop(); });
  AwaitClosed();
  executor_->Open();
  stopper.join();
  EXPECT_EQ(ReadAll(*stream).finish.reason, FinishReason::kCancelled);
  const std::string calls = executor_->calls();
  EXPECT_EQ(calls.substr(calls.size() - 2), "SC");
  EXPECT_TRUE(failure().ok()) << failure();
}

TEST_F(ServingLoopConstraintTest, ManyWithAndWithoutConstraints) {
  config_.num_blocks = 24;
  config_.max_model_len = 90;
  StartAhead();
  executor_->Open();
  std::vector<Request> requests;
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (SequenceId id = 1; id <= 40; ++id) {
    FakeConstraint::Rule rule;
    rule.divisor = 1 + static_cast<int32_t>(id % 7);
    auto request = Constrained(id, 1 + static_cast<int32_t>(id * 13 % 40), rule);
    requests.push_back(*request);
    if (id % 3 == 0) {  // those of divisor 1 say what they like anyway
      request->constraint = nullptr;
      requests.back().constraint =
          std::make_shared<FakeConstraint>(FakeConstraint::Rule{.divisor = 1});
    }
    streams.push_back(Submit(std::move(request)));
  }
  for (size_t i = 0; i < streams.size(); ++i) {
    const Result result = ReadAll(*streams[i]);
    EXPECT_THAT(result.tokens, ElementsAreArray(Expected(requests[i], requests[i].stop.max_tokens)))
        << requests[i].id;
  }
  EXPECT_TRUE(loop_->Drain(absl::InfiniteFuture()));
  EXPECT_EQ(loop_->stats().free_blocks, 24);
}

}  // namespace
}  // namespace tidal
