// Drafts: tokens that may follow a sequence's, verified in one row. They change when tokens come,
// never which.
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
using Row = Harness::Row;

SchedulerConfig Config() {
  SchedulerConfig config = SmallConfig();
  config.max_sampled_tokens = 24;
  return config;
}

class SchedulerDraftTest : public ::testing::Test {
 protected:
  // A sequence that has its first token.
  static void Begin(Harness& harness, std::unique_ptr<Request> request) {
    harness.Add(std::move(request));
    harness.Step();
  }
  static SequenceSnapshot Running(Harness& harness, SequenceId id) {
    for (const SequenceSnapshot& s : harness.scheduler().Snapshot().running) {
      if (s.id == id) return s;
    }
    ADD_FAILURE() << id << " does not run";
    return {};
  }
};

TEST_F(SchedulerDraftTest, RightGuessesComeInOneStep) {
  Harness harness(Config());
  Begin(harness, MakeRequest(1, Prompt(6), 12));
  harness.SetDraft(1, 5, 5);
  EXPECT_THAT(harness.Step(), ElementsAre(Row{1, 6, 6, true, true}));
  EXPECT_EQ(Running(harness, 1).num_tokens, 6 + 1 + 6);
  EXPECT_EQ(Running(harness, 1).num_computed_tokens, 6 + 6);
  EXPECT_THAT(harness.Step(), ElementsAre(Row{1, 12, 1, true, true})) << "a draft is for one step";
  harness.RunToEnd();
  harness.ExpectOutputs();
  EXPECT_EQ(harness.scheduler().totals().drafted, 5);
  EXPECT_EQ(harness.scheduler().totals().accepted, 5);
  EXPECT_EQ(harness.result(1).finish->dense_steps, 11);
}

TEST_F(SchedulerDraftTest, AWrongGuessGivesTheBlocksOfWhatFollowsBack) {
  Harness harness(Config());
  Begin(harness, MakeRequest(1, Prompt(6), 30));
  const int32_t available = harness.scheduler().blocks().num_available();
  for (const int32_t right : {0, 2, 7}) {
    const int32_t before = Running(harness, 1).num_tokens;
    harness.SetDraft(1, 12, right);
    harness.Step();
    const SequenceSnapshot after = Running(harness, 1);
    EXPECT_EQ(after.num_tokens, before + right + 1);
    EXPECT_EQ(after.num_computed_tokens, after.num_tokens - 1);
    EXPECT_EQ(after.block_table.size(), (after.num_tokens + 3) / 4);
  }
  EXPECT_EQ(harness.scheduler().blocks().num_available(),
            available - (6 + 1 + 12 + 3) / 4 + (6 + 1 + 3) / 4);
  EXPECT_EQ(harness.scheduler().totals().accepted, 9);
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST_F(SchedulerDraftTest, AStopTokenEndsInTheMiddle) {
  Harness harness(Config());
  harness.Add(MakeRequest(1, Prompt(6), 12));
  const std::vector<TokenId> text = harness.Expected(1);
  harness.RunToEnd();
  auto request = MakeRequest(2, Prompt(6), 12);
  request->stop.stop_token_ids = {text[3]};
  Begin(harness, std::move(request));
  // What would follow the end is right, too.
  std::vector<TokenId> draft(text.begin() + 1, text.begin() + 8);
  harness.scheduler().SetDraft(2, draft);
  harness.Step();
  ASSERT_TRUE(harness.finished(2));
  EXPECT_EQ(harness.result(2).tokens, std::vector<TokenId>(text.begin(), text.begin() + 4));
  EXPECT_EQ(harness.result(2).finish->reason, FinishReason::kStop);
  EXPECT_EQ(harness.result(2).finish->stop_token, text[3]);
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST_F(SchedulerDraftTest, IsCutToTheLengthsThatEndTheRequest) {
  SchedulerConfig config = Config();
  config.max_model_len = 20;
  Harness harness(config);
  Begin(harness, MakeRequest(1, Prompt(6), 5));
  Begin(harness, MakeRequest(2, Prompt(12, 50), 8));
  harness.SetDraft(1, 15, 15);  // has 2 of 5 tokens by now
  harness.SetDraft(2, 15, 15);  // has 13 tokens, of 20
  EXPECT_THAT(harness.Step(),
              ElementsAre(Row{1, 7, 1 + 2, true, true}, Row{2, 12, 1 + 6, true, true}));
  EXPECT_TRUE(harness.finished(1) && harness.finished(2));
  harness.ExpectOutputs();
}

TEST_F(SchedulerDraftTest, IsCutToWhatAVerifyRowTakes) {
  SchedulerConfig config = Config();
  config.max_num_batched_tokens = 100;
  config.max_sampled_tokens = 100;
  Harness harness(config);
  Begin(harness, MakeRequest(1, Prompt(6), 60));
  harness.SetDraft(1, 40, 40);
  EXPECT_THAT(harness.Step(), ElementsAre(Row{1, 6, kMaxVerifyTokens, true, true}));
}

TEST_F(SchedulerDraftTest, SharesTheStepsTokensAndResults) {
  SchedulerConfig config = Config();  // 32 tokens a step, of which 24 may be sampled
  Harness harness(config);
  for (SequenceId id = 1; id <= 3; ++id) {
    Begin(harness, MakeRequest(id, Prompt(6, 50 * static_cast<TokenId>(id)), 40));
  }
  for (SequenceId id = 1; id <= 3; ++id) harness.SetDraft(id, 14, 14);
  // 24 - 3 guesses.
  std::vector<Row> rows = harness.Step();
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].num_new_tokens, 15);
  EXPECT_EQ(rows[1].num_new_tokens, 8);
  EXPECT_EQ(rows[2].num_new_tokens, 1);
  // A prompt has half of what decode rows leave, whatever is guessed.
  harness.Add(MakeRequest(4, Prompt(100, 500), 2));
  for (SequenceId id = 1; id <= 3; ++id) harness.SetDraft(id, 10, 10);
  rows = harness.Step();
  ASSERT_EQ(rows.size(), 4u);
  int32_t guesses = -3;
  for (int i = 0; i < 3; ++i) guesses += rows[i].num_new_tokens;
  EXPECT_EQ(guesses, (32 - 3) / 2);
  EXPECT_EQ(rows[3].num_new_tokens, 32 - 3 - guesses);
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST_F(SchedulerDraftTest, WithoutRoomForResultsThereAreNoGuesses) {
  Harness harness(SmallConfig());  // as many results as sequences
  for (SequenceId id = 1; id <= 8; ++id) harness.Add(MakeRequest(id, Prompt(1), 9));
  harness.Step();
  for (SequenceId id = 1; id <= 8; ++id) harness.SetDraft(id, 4, 4);
  for (const Row& row : harness.Step()) EXPECT_EQ(row.num_new_tokens, 1);
  EXPECT_EQ(harness.scheduler().totals().drafted, 0);
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST_F(SchedulerDraftTest, NobodyIsPreemptedForAGuess) {
  SchedulerConfig config = TinyPoolConfig();  // 10 blocks of 4
  config.max_sampled_tokens = 40;
  Harness harness(config);
  Begin(harness, MakeRequest(1, Prompt(15), 10));       // 4 blocks
  Begin(harness, MakeRequest(2, Prompt(17, 100), 10));  // 5 blocks
  harness.SetDraft(1, 9, 9);
  harness.SetDraft(2, 9, 9);
  // The first has room for one guess and finds the last block, the second none for more than two.
  const std::vector<Row> rows = harness.Step();
  EXPECT_EQ(harness.scheduler().totals().preemptions, 0);
  int32_t covered = 0;
  for (const Row& row : rows) covered += (row.num_computed_tokens + row.num_new_tokens + 3) / 4;
  EXPECT_LE(covered, 10);
  EXPECT_GT(harness.scheduler().totals().drafted, 2);
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST_F(SchedulerDraftTest, IsIgnoredOfSequencesThatDoNotDecode) {
  Harness harness(Config());
  harness.scheduler().SetDraft(77, {1, 2, 3});
  harness.Add(MakeRequest(1, Prompt(50), 4));
  harness.scheduler().SetDraft(1, {1, 2, 3});  // waits
  EXPECT_THAT(harness.Step(), ElementsAre(Row{1, 0, 32, false, false}));
  harness.scheduler().SetDraft(1, {1, 2, 3});  // its prompt runs
  EXPECT_THAT(harness.Step(), ElementsAre(Row{1, 32, 18, false, true}));
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST_F(SchedulerDraftTest, IsForgottenByAPreemption) {
  SchedulerConfig config = TinyPoolConfig();
  config.max_sampled_tokens = 40;
  Harness harness(config);
  harness.Add(MakeRequest(1, Prompt(12, 100), 25));
  harness.Add(MakeRequest(2, Prompt(12, 200), 25));
  while (!harness.scheduler().empty()) {
    harness.SetDraft(2, 3, 1);
    harness.Step();
  }
  EXPECT_GE(harness.scheduler().totals().preemptions, 1);
  harness.ExpectOutputs();
}

// The step after a verify row depends on what is accepted.
TEST_F(SchedulerDraftTest, NoStepIsLaunchedAheadOfAVerification) {
  Harness harness(Config());
  Begin(harness, MakeRequest(1, Prompt(6), 30));
  harness.overlap = true;
  harness.SetDraft(1, 4, 2);
  harness.Step();
  EXPECT_EQ(harness.num_ahead(), 0);
  EXPECT_EQ(Running(harness, 1).num_tokens, 6 + 1 + 3);
  harness.Step();
  EXPECT_EQ(harness.num_ahead(), 1);
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST_F(SchedulerDraftTest, OnlyWhatIsAcceptedIsShared) {
  Harness harness(Config());
  Begin(harness, MakeRequest(1, Prompt(6), 20));
  const std::vector<TokenId> text = harness.Expected(1);
  harness.SetDraft(1, 12, 4);
  harness.Step();  // 6 + 1 + 5 tokens, of which 11 are computed: two full blocks
  EXPECT_EQ(Running(harness, 1).num_published, 2);
  // What was guessed wrongly is found by nobody.
  std::vector<TokenId> wrong = Prompt(6);
  wrong.insert(wrong.end(), text.begin(), text.begin() + 5);
  for (int i = 5; i < 12; ++i) wrong.push_back((text[i] + 1) % kTestVocabSize);
  harness.Add(MakeRequest(2, wrong, 2));
  harness.Step();
  harness.RunToEnd();
  EXPECT_EQ(harness.result(2).finish->cached_tokens, 8);
  harness.ExpectOutputs();
}

TEST_F(SchedulerDraftTest, AVerifiedTokenOfATidalSequenceIsDense) {
  Harness harness(Config());
  auto request = MakeRequest(1, Prompt(10), 20);
  request->attention = Tidal(8);
  Begin(harness, std::move(request));
  harness.Step();  // sparse
  harness.SetDraft(1, 4, 0);
  harness.Step();
  harness.RunToEnd();
  EXPECT_EQ(harness.result(1).finish->sparse_steps, 18);
  EXPECT_EQ(harness.result(1).finish->dense_steps, 1);
  harness.ExpectOutputs();
}

TEST_F(SchedulerDraftTest, ACorrectionThatIsDueWaitsForNoGuess) {
  SchedulerConfig config = Config();
  config.correction_period = 3;
  Harness harness(config);
  auto request = MakeRequest(1, Prompt(10), 30);
  request->attention = Tidal(8);
  Begin(harness, std::move(request));
  harness.Step();  // sparse: one inexact token
  const int32_t before = Running(harness, 1).num_tokens;
  const std::vector<TokenId> text = harness.Expected(1);
  harness.SetDraft(1, 8, 8);
  harness.Step();
  const SequenceSnapshot after = Running(harness, 1);
  EXPECT_LE(after.num_tokens, before + 2) << "three inexact tokens";
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST_F(SchedulerDraftTest, ACorruptResultEndsTheSequence) {
  Harness harness(Config());
  Begin(harness, MakeRequest(1, Prompt(6), 20));
  Begin(harness, MakeRequest(2, Prompt(6, 300), 20));
  harness.Fault(1);
  harness.SetDraft(1, 4, 4);
  harness.SetDraft(2, 4, 4);
  harness.Step();
  ASSERT_TRUE(harness.finished(1));
  EXPECT_EQ(harness.result(1).finish->reason, FinishReason::kError);
  EXPECT_EQ(Running(harness, 2).num_tokens, 6 + 1 + 5);
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST_F(SchedulerDraftTest, CancellingBetweenDraftAndStepIsFine) {
  Harness harness(Config());
  Begin(harness, MakeRequest(1, Prompt(6), 20));
  harness.SetDraft(1, 4, 4);
  harness.Abort(1);
  harness.RunToEnd();
  harness.ExpectOutputs();
}

}  // namespace
}  // namespace tidal
