#include "scheduler/sequence.h"

#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

constexpr int32_t kLength = 1000;

// Runs the next `count` tokens as one row of what GetNextRun() allows.
void RunRow(Sequence& sequence, int32_t count) {
  const NextRun run = sequence.GetNextRun();
  ASSERT_LE(count, run.max_tokens);
  const bool sparse = run.is_decode() &&
                      sequence.request().attention.RunsSparse(sequence.num_computed_tokens() + 1);
  sequence.AdvanceComputed(count, sparse);
}

TEST(SequenceTest, PromptRunsInChunksThenDecodes) {
  Sequence sequence(MakeRequest(1, Prompt(10), 5), 0);
  EXPECT_EQ(sequence.GetNextRun().max_tokens, 10);
  EXPECT_FALSE(sequence.GetNextRun().is_decode());
  RunRow(sequence, 9);
  EXPECT_EQ(sequence.GetNextRun().max_tokens, 1);
  EXPECT_FALSE(sequence.GetNextRun().is_decode()) << "a prompt's last token is no decode row";
  RunRow(sequence, 1);
  EXPECT_EQ(sequence.AppendToken(77, kLength), std::nullopt);
  EXPECT_EQ(sequence.GetNextRun().max_tokens, 1);
  EXPECT_TRUE(sequence.GetNextRun().is_decode());
}

TEST(SequenceTest, FullModeRecomputesInChunks) {
  Sequence sequence(MakeRequest(1, Prompt(4), 9), 0);
  RunRow(sequence, 4);
  for (TokenId token : {7, 8, 9}) {
    sequence.AppendToken(token, kLength);
    if (token != 9) RunRow(sequence, 1);
  }
  sequence.ResetComputed(0);
  EXPECT_EQ(sequence.GetNextRun().max_tokens, 7);
  EXPECT_FALSE(sequence.GetNextRun().is_decode());
}

TEST(SequenceTest, APreemptedOneRunsAllItsTokensDensely) {
  auto request = MakeRequest(1, Prompt(4), 20);
  request->attention = Tidal(6);
  Sequence sequence(std::move(request), 0);
  RunRow(sequence, 4);
  for (TokenId token = 50; token < 55; ++token) {
    sequence.AppendToken(token, kLength);
    RunRow(sequence, 1);
  }
  sequence.AppendToken(55, kLength);
  // Contexts 5 and 6 were read whole; 7, 8, 9 were sparse.
  EXPECT_EQ(sequence.num_computed_tokens(), 9);
  EXPECT_EQ(sequence.num_exact_tokens(), 6);
  EXPECT_EQ(sequence.num_inexact_tokens(), 3);

  sequence.ResetComputed(0);
  EXPECT_EQ(sequence.GetNextRun().max_tokens, 10) << "all that is known";
  EXPECT_EQ(sequence.GetNextRun().kind, RowKind::kPrefill);
  RunRow(sequence, 10);
  EXPECT_EQ(sequence.num_exact_tokens(), 10);
  sequence.AppendToken(56, kLength);
  EXPECT_EQ(sequence.GetNextRun().kind, RowKind::kDecode);
}

TEST(SequenceTest, CorrectionRewindsToTheFirstInexactToken) {
  auto request = MakeRequest(1, Prompt(4), 20);
  request->attention = Tidal(4);
  Sequence sequence(std::move(request), 0);
  RunRow(sequence, 4);
  for (TokenId token = 50; token < 53; ++token) {
    sequence.AppendToken(token, kLength);
    RunRow(sequence, 1);
  }
  sequence.AppendToken(53, kLength);
  ASSERT_EQ(sequence.num_inexact_tokens(), 3);
  EXPECT_EQ(sequence.BeginCorrection(), 3);
  EXPECT_EQ(sequence.num_computed_tokens(), 4);
  EXPECT_EQ(sequence.num_inexact_tokens(), 0);
  EXPECT_EQ(sequence.dense_until(), 8);
  EXPECT_EQ(sequence.GetNextRun().max_tokens, 4);
  EXPECT_FALSE(sequence.GetNextRun().is_decode());
  RunRow(sequence, 4);
  EXPECT_EQ(sequence.num_exact_tokens(), 8);
  sequence.AppendToken(54, kLength);
  EXPECT_TRUE(sequence.GetNextRun().is_decode());
}

TEST(SequenceTest, EndsAtMaxTokens) {
  Sequence sequence(MakeRequest(1, Prompt(2), 2), 0);
  RunRow(sequence, 2);
  EXPECT_EQ(sequence.AppendToken(5, kLength), std::nullopt);
  RunRow(sequence, 1);
  EXPECT_EQ(sequence.AppendToken(5, kLength), FinishReason::kLength);
}

TEST(SequenceTest, EndsAtTheModelsLength) {
  Sequence sequence(MakeRequest(1, Prompt(2), 20), 0);
  RunRow(sequence, 2);
  EXPECT_EQ(sequence.AppendToken(5, 4), std::nullopt);
  RunRow(sequence, 1);
  EXPECT_EQ(sequence.AppendToken(5, 4), FinishReason::kLength);
}

TEST(SequenceTest, AStopTokenEndsItAlsoAtTheLimit) {
  auto request = MakeRequest(1, Prompt(2), 1);
  request->stop.stop_token_ids = {9, 11};
  Sequence sequence(std::move(request), 0);
  RunRow(sequence, 2);
  EXPECT_EQ(sequence.AppendToken(11, kLength), FinishReason::kStop);
}

TEST(SequenceTest, StopTokensAreBannedBeforeMinTokens) {
  auto request = MakeRequest(1, Prompt(2), 9);
  request->stop.stop_token_ids = {9, 11};
  request->stop.min_tokens = 2;
  request->sampling.logit_bias = {{9, 5.0f}, {3, 1.0f}};
  request->sampling.top_k = 7;
  Sequence sequence(std::move(request), 0);
  const SamplingParams& sampling = sequence.request().sampling;
  EXPECT_EQ(sampling.min_tokens, 2);
  EXPECT_THAT(sampling.banned_tokens, ElementsAre(9, 11));
  EXPECT_THAT(sampling.logit_bias, ElementsAre(Pair(9, 5.0f), Pair(3, 1.0f)));
  EXPECT_EQ(sampling.top_k, 7);
  RunRow(sequence, 2);
  EXPECT_EQ(sequence.AppendToken(1, kLength), std::nullopt);
  RunRow(sequence, 1);
  EXPECT_EQ(sequence.AppendToken(1, kLength), std::nullopt);
  RunRow(sequence, 1);
  EXPECT_EQ(sequence.AppendToken(9, kLength), FinishReason::kStop);
}

TEST(SequenceTest, ServesLowerPriorityThenEarlierArrivalFirst) {
  auto urgent = MakeRequest(1, Prompt(1), 1);
  urgent->priority = -1;
  Sequence late(std::move(urgent), 5);
  Sequence early(MakeRequest(2, Prompt(1), 1), 0);
  Sequence middle(MakeRequest(3, Prompt(1), 1), 3);
  EXPECT_TRUE(ServedBefore()(&late, &early));
  EXPECT_TRUE(ServedBefore()(&early, &middle));
  EXPECT_FALSE(ServedBefore()(&middle, &early));
  EXPECT_FALSE(ServedBefore()(&early, &early));
}

}  // namespace
}  // namespace tidal
