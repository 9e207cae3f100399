// Requests whose tokens a constraint decides: what they get, how they end, and that nobody beside
// them notices.
#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/fake_constraint.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAreArray;
using ::testing::SizeIs;

class ConstraintTest : public ::testing::TestWithParam<bool> {
 protected:
  void Start(const SchedulerConfig& config = SmallConfig()) {
    harness_ = std::make_unique<Harness>(config);
    harness_->overlap = GetParam();
  }
  std::unique_ptr<Request> Constrained(SequenceId id, int32_t prompt_size, int32_t max_tokens,
                                       const FakeConstraint::Rule& rule = {}) {
    auto request = MakeRequest(id, Prompt(prompt_size, 10 * static_cast<TokenId>(id)), max_tokens);
    request->constraint = std::make_shared<FakeConstraint>(rule);
    return request;
  }
  void AddPlain(SequenceId id, int32_t prompt_size, int32_t max_tokens) {
    harness_->Add(MakeRequest(id, Prompt(prompt_size, 10 * static_cast<TokenId>(id)), max_tokens));
  }
  const FakeConstraint& ConstraintOf(SequenceId id) const {
    return static_cast<const FakeConstraint&>(*harness_->result(id).request.constraint);
  }
  const FinishInfo& Finish(SequenceId id) const { return *harness_->result(id).finish; }
  // All it was given, in order, each once.
  void ExpectTold(SequenceId id) const {
    EXPECT_THAT(ConstraintOf(id).told(), ElementsAreArray(harness_->result(id).tokens)) << id;
  }

  std::unique_ptr<Harness> harness_;
};

TEST_P(ConstraintTest, EveryTokenIsOneThatItAllows) {
  Start();
  harness_->Add(Constrained(1, 6, 20));
  AddPlain(2, 9, 25);
  harness_->Add(Constrained(3, 40, 20, {.divisor = 100}));
  harness_->Add(Constrained(4, 5, 20, {.free_from = 8}));
  harness_->RunToEnd();
  harness_->ExpectOutputs();
  for (SequenceId id : {1, 3, 4}) {
    ExpectTold(id);
    EXPECT_EQ(Finish(id).reason, FinishReason::kLength);
    EXPECT_EQ(Finish(id).stop_token, -1);
    const std::vector<TokenId>& tokens = harness_->result(id).tokens;
    for (int32_t place = 0; place < 20; ++place) {
      EXPECT_TRUE(ConstraintOf(id).Allows(place, tokens[place])) << id << ": " << place;
    }
  }
  EXPECT_EQ(harness_->num_masked(), 20 + 20 + 8);
  EXPECT_EQ(harness_->num_ahead() > 10, GetParam());
}

// Where a constraint forbids nothing, its request gets what it would get without one.
TEST_P(ConstraintTest, OneThatAllowsAllChangesNothing) {
  Start();
  harness_->Add(Constrained(1, 6, 20, {.divisor = 1}));
  harness_->Add(Constrained(2, 6, 20, {.free_from = 0}));
  harness_->RunToEnd();
  for (SequenceId id : {1, 2}) {
    Request plain = harness_->result(id).request;
    plain.constraint = nullptr;
    EXPECT_THAT(harness_->result(id).tokens,
                ElementsAreArray(KvExecutor::ExpectedOutput(plain, SmallConfig(), kTestVocabSize)));
  }
}

TEST_P(ConstraintTest, ACompleteOneEndsItsRequestAsAStopDoes) {
  Start();
  harness_->Add(Constrained(1, 6, 20, {.length = 1}));
  harness_->Add(Constrained(2, 6, 20, {.length = 7}));
  harness_->Add(Constrained(3, 6, 7, {.length = 7}));  // not cut off: that was all
  harness_->Add(Constrained(4, 6, 7, {.length = 8}));
  AddPlain(5, 6, 30);
  harness_->RunToEnd();
  harness_->ExpectOutputs();
  EXPECT_THAT(harness_->result(1).tokens, SizeIs(1));
  for (SequenceId id : {2, 3, 4}) EXPECT_THAT(harness_->result(id).tokens, SizeIs(7)) << id;
  for (SequenceId id : {1, 2, 3}) {
    ExpectTold(id);
    EXPECT_EQ(Finish(id).reason, FinishReason::kStop) << id;
    EXPECT_TRUE(Finish(id).status.ok());
    EXPECT_EQ(Finish(id).stop_token, harness_->result(id).tokens.back());
  }
  EXPECT_EQ(Finish(4).reason, FinishReason::kLength);
}

TEST_P(ConstraintTest, ARefusedTokenEndsItsRequestAndNobodyElse) {
  Start();
  harness_->Add(Constrained(1, 6, 20, {.refused_at = 0}));
  harness_->Add(Constrained(2, 6, 20, {.refused_at = 4}));
  harness_->Add(Constrained(3, 6, 5, {.refused_at = 4}));  // with its last one
  harness_->Add(Constrained(4, 6, 20));
  AddPlain(5, 6, 20);
  harness_->RunToEnd();  // all blocks are back
  harness_->ExpectOutputs();
  for (SequenceId id : {1, 2, 3}) {
    ExpectTold(id);
    EXPECT_THAT(harness_->result(id).tokens, SizeIs(id == 1 ? 1 : 5)) << id;
    EXPECT_EQ(Finish(id).reason, FinishReason::kError);
    EXPECT_EQ(Finish(id).status,
              absl::InternalError("no token goes on with the structure that the request asks for"));
  }
  EXPECT_EQ(Finish(4).reason, FinishReason::kLength);
  EXPECT_EQ(Finish(5).reason, FinishReason::kLength);
  EXPECT_EQ(harness_->scheduler().totals().corrupt_sequences, 0);
}

TEST_P(ConstraintTest, AStopTokenEndsItWhereItIsAllowed) {
  Start();
  harness_->Add(Constrained(1, 6, 20));
  harness_->RunToEnd();
  const std::vector<TokenId> tokens = harness_->result(1).tokens;
  for (const int32_t refused_at : {-1, 3}) {
    auto again = Constrained(1, 6, 20, {.refused_at = refused_at});
    const SequenceId id = again->id = 3 + refused_at;
    again->stop.stop_token_ids = {tokens[3]};
    harness_->Add(std::move(again));
    harness_->RunToEnd();
    EXPECT_THAT(harness_->result(id).tokens, ElementsAreArray(tokens.begin(), tokens.begin() + 4));
    ExpectTold(id);
    EXPECT_EQ(Finish(id).reason, refused_at < 0 ? FinishReason::kStop : FinishReason::kError);
    EXPECT_EQ(Finish(id).stop_token, refused_at < 0 ? tokens[3] : -1);
    EXPECT_EQ(Finish(id).status.ok(), refused_at < 0);
  }
}

TEST_P(ConstraintTest, APreemptedOneGoesOnWhereItWas) {
  Start(TinyPoolConfig());
  harness_->Add(Constrained(1, 12, 25));
  harness_->Add(Constrained(2, 12, 25, {.divisor = 7}));
  auto sparse = Constrained(3, 8, 20, {.length = 15});
  sparse->attention = Tidal(9);
  harness_->Add(std::move(sparse));
  harness_->RunToEnd();
  harness_->ExpectOutputs();
  for (SequenceId id : {1, 2, 3}) ExpectTold(id);
  EXPECT_GE(harness_->scheduler().totals().preemptions, 1);
  EXPECT_GE(Finish(2).preemptions + Finish(3).preemptions, 1);
  EXPECT_EQ(harness_->num_masked(), 25 + 25 + 15) << "one mask a token";
}

// Several outputs of one prompt are requests with a constraint each.
TEST_P(ConstraintTest, OutputsOfOnePromptHaveTheirOwn) {
  Start();
  for (SequenceId id = 1; id <= 5; ++id) {
    auto request = Constrained(id, 0, 12, {.length = 4 + static_cast<int32_t>(id)});
    request->prompt = Prompt(30);
    request->sampling.temperature = 1;
    request->sampling.seed = 70 + id;
    harness_->Add(std::move(request));
  }
  harness_->RunToEnd();
  harness_->ExpectOutputs();
  for (SequenceId id = 1; id <= 5; ++id) {
    ExpectTold(id);
    EXPECT_THAT(harness_->result(id).tokens, SizeIs(4 + id));
    if (id > 1) {
      EXPECT_NE(harness_->result(id).tokens[0], harness_->result(1).tokens[0]);
    }
  }
}

TEST_P(ConstraintTest, CancelledAndTimedOutOnesHearNoMore) {
  Start();
  harness_->Add(Constrained(1, 6, 50));
  auto timed = Constrained(2, 6, 50);
  timed->deadline = harness_->now + absl::Seconds(1);
  harness_->Add(std::move(timed));
  harness_->Add(Constrained(3, 6, 30));
  for (int32_t i = 0; i < 6; ++i) harness_->Step();  // with overlap another one is in flight
  harness_->Abort(1);
  for (int32_t i = 0; i < 3; ++i) harness_->Step();
  harness_->now += absl::Seconds(2);
  harness_->RunToEnd();
  harness_->ExpectOutputs();
  for (SequenceId id : {1, 2, 3}) ExpectTold(id);
  EXPECT_EQ(Finish(1).status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(Finish(2).status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Finish(3).reason, FinishReason::kLength);
  EXPECT_THAT(harness_->result(1).tokens, SizeIs(6));
}

TEST_P(ConstraintTest, AllAbortedWithMaskedStepsInFlight) {
  Start();
  for (SequenceId id = 1; id <= 3; ++id) harness_->Add(Constrained(id, 6, 50));
  for (int32_t i = 0; i < 4; ++i) harness_->Step();
  harness_->scheduler().AbortAll(FinishReason::kCancelled, absl::CancelledError("all"),
                                 harness_->now);
  harness_->TakeEvents();
  harness_->RunToEnd();
  for (SequenceId id = 1; id <= 3; ++id) ExpectTold(id);
  AddPlain(4, 6, 20);  // the executor still runs
  harness_->RunToEnd();
  harness_->ExpectOutputs();
}

TEST_P(ConstraintTest, ACorruptTokenIsNotShownToIt) {
  Start();
  harness_->Add(Constrained(1, 6, 20));
  harness_->Add(Constrained(2, 6, 20));
  for (int32_t i = 0; i < 4; ++i) harness_->Step();
  harness_->Fault(1);
  harness_->RunToEnd();
  harness_->ExpectOutputs();
  ExpectTold(1);
  ExpectTold(2);
  EXPECT_EQ(Finish(1).reason, FinishReason::kError);
  EXPECT_EQ(harness_->scheduler().totals().corrupt_sequences, 1);
  EXPECT_THAT(harness_->result(2).tokens, SizeIs(20));
}

INSTANTIATE_TEST_SUITE_P(Overlap, ConstraintTest, ::testing::Bool());

// Nobody knows what a constraint makes of guesses; those beside it keep theirs.
TEST(ConstrainedDraftTest, IsIgnored) {
  SchedulerConfig config = SmallConfig();
  config.max_sampled_tokens = 60;
  Harness harness(config);
  auto request = MakeRequest(1, Prompt(6), 20);
  request->constraint = std::make_shared<FakeConstraint>(FakeConstraint::Rule());
  harness.Add(std::move(request));
  harness.Add(MakeRequest(2, Prompt(6, 50), 20));
  harness.Step();
  harness.SetDraft(1, 5, 5);
  harness.Step();
  EXPECT_EQ(harness.scheduler().totals().drafted, 0);
  harness.SetDraft(1, 5, 5);
  harness.SetDraft(2, 5, 3);
  harness.Step();
  EXPECT_EQ(harness.scheduler().totals().drafted, 5);
  EXPECT_EQ(harness.scheduler().totals().accepted, 3);
  harness.RunToEnd();
  harness.ExpectOutputs();
  EXPECT_EQ(harness.num_masked(), 20);
}

}  // namespace
}  // namespace tidal
