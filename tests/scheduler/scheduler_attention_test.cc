// What keeps sparse attention honest: what follows a preemption, correction, and what is shared.
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

std::unique_ptr<Request> TidalRequest(SequenceId id, std::vector<TokenId> prompt,
                                      int32_t max_tokens, int32_t budget) {
  auto request = MakeRequest(id, std::move(prompt), max_tokens);
  request->attention = Tidal(budget);
  return request;
}

TEST(SchedulerAttentionTest, CountsDecodeStepsByHowTheyRan) {
  Harness harness(SmallConfig());
  harness.Add(TidalRequest(1, Prompt(10), 9, 12));
  harness.RunToEnd();
  // Decode rows have contexts 11 to 18.
  EXPECT_EQ(harness.result(1).finish->dense_steps, 2);
  EXPECT_EQ(harness.result(1).finish->sparse_steps, 6);
  EXPECT_EQ(harness.result(1).finish->corrected_tokens, 0);
  harness.ExpectOutputs();
}

TEST(SchedulerAttentionTest, ABudgetOfTheWholeContextIsFullAttention) {
  Harness harness(SmallConfig());
  harness.Add(TidalRequest(1, Prompt(10), 20, 200));
  harness.Add(MakeRequest(2, Prompt(10), 20));
  harness.RunToEnd();
  EXPECT_EQ(harness.result(1).tokens, harness.result(2).tokens);
  EXPECT_EQ(harness.result(1).finish->sparse_steps, 0);
  harness.ExpectOutputs();
}

TEST(SchedulerAttentionTest, APreemptedTidalRequestGoesOnFromExactKv) {
  SchedulerConfig config = TinyPoolConfig();
  Harness harness(config);
  harness.Add(MakeRequest(1, Prompt(12, 100), 25));
  harness.Add(TidalRequest(2, Prompt(12, 200), 25, 14));
  std::vector<Row> chunks;  // of the second
  while (!harness.scheduler().empty()) {
    for (const Row& row : harness.Step()) {
      if (row.id == 2 && !row.is_decode) chunks.push_back(row);
      EXPECT_TRUE(row.wants_token || !row.is_decode) << "no token is run alone again";
    }
  }
  ASSERT_GE(harness.result(2).finish->preemptions, 1);
  ASSERT_EQ(chunks.size(), 2);
  EXPECT_LE(chunks[1].num_computed_tokens, 12) << "what the prefix cache kept";
  EXPECT_GT(chunks[1].num_computed_tokens + chunks[1].num_new_tokens, 15)
      << "with tokens that had run sparse";
  EXPECT_EQ(harness.result(2).finish->sparse_steps + harness.result(2).finish->dense_steps, 24);
  harness.ExpectOutputs();
}

TEST(SchedulerAttentionTest, CorrectionRerunsWhatWasDecodedSparsely) {
  SchedulerConfig config = SmallConfig();
  config.correction_period = 3;
  Harness harness(config);
  harness.Add(TidalRequest(1, Prompt(8), 12, 4));
  std::vector<Row> rows;
  while (!harness.scheduler().empty()) {
    for (const Row& row : harness.Step()) rows.push_back(row);
  }
  EXPECT_THAT(rows, ElementsAre(Row{1, 0, 8, false, true},   //
                                Row{1, 8, 1, true, true},    // sparse
                                Row{1, 9, 1, true, true},    // sparse
                                Row{1, 10, 1, true, true},   // sparse: the third
                                Row{1, 8, 4, false, true},   // these again, and the new one
                                Row{1, 12, 1, true, true},   //
                                Row{1, 13, 1, true, true},   //
                                Row{1, 14, 1, true, true},   //
                                Row{1, 12, 4, false, true},  //
                                Row{1, 16, 1, true, true},   //
                                Row{1, 17, 1, true, true},   //
                                Row{1, 18, 1, true, true}));
  const FinishInfo& info = *harness.result(1).finish;
  EXPECT_EQ(info.corrected_tokens, 6);
  EXPECT_EQ(harness.scheduler().totals().corrected_tokens, 6);
  EXPECT_EQ(info.sparse_steps, 9);
  EXPECT_EQ(info.dense_steps, 2) << "the tokens that came of a corrected chunk";
  harness.ExpectOutputs();
}

TEST(SchedulerAttentionTest, APeriodOfOneIsCorrectedAfterEveryToken) {
  SchedulerConfig config = SmallConfig();
  config.correction_period = 1;
  Harness harness(config);
  harness.Add(TidalRequest(1, Prompt(8), 7, 4));
  harness.RunToEnd();
  EXPECT_EQ(harness.result(1).finish->corrected_tokens, 3);
  harness.ExpectOutputs();
}

TEST(SchedulerAttentionTest, CorrectedBlocksAreSharedAndOthersAreNot) {
  for (const bool corrected : {false, true}) {
    SchedulerConfig config = SmallConfig();
    config.correction_period = corrected ? 4 : 0;
    Harness harness(config);
    harness.Add(TidalRequest(1, Prompt(8), 14, 4));
    harness.RunToEnd();
    std::vector<TokenId> next = Prompt(8);
    const std::vector<TokenId>& answer = harness.result(1).tokens;
    next.insert(next.end(), answer.begin(), answer.end());
    harness.Add(MakeRequest(2, next, 3));
    harness.RunToEnd();
    // Corrections end at 13 and 18 tokens: 16 are in full exact blocks.
    EXPECT_EQ(harness.result(2).finish->cached_tokens, corrected ? 16 : 8);
    harness.ExpectOutputs();
  }
}

TEST(SchedulerAttentionTest, CorrectionSurvivesPreemption) {
  SchedulerConfig config = TinyPoolConfig();
  for (int32_t period = 1; period <= 8; ++period) {
    config.correction_period = period;
    Harness harness(config);
    harness.Add(MakeRequest(1, Prompt(12, 100), 25));
    harness.Add(TidalRequest(2, Prompt(12, 200), 25, 9));
    harness.RunToEnd();
    EXPECT_GE(harness.result(2).finish->preemptions, 1);
    harness.ExpectOutputs();
  }
}

TEST(SchedulerAttentionTest, ModesMixInOneBatch) {
  Harness harness(SmallConfig());
  for (SequenceId id = 1; id <= 6; ++id) {
    harness.Add(TidalRequest(id, Prompt(10 + id, 100 * id), 20, 5 * id));
  }
  harness.Add(MakeRequest(7, Prompt(15, 800), 20));
  harness.RunToEnd();
  harness.ExpectOutputs();
}

}  // namespace
}  // namespace tidal
