// Log probabilities of prompts, and prompts alone: what is asked of steps, and handed on.
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using Row = Harness::Row;

std::unique_ptr<Request> Scored(SequenceId id, std::vector<TokenId> prompt, int32_t max_tokens) {
  auto request = MakeRequest(id, std::move(prompt), max_tokens);
  request->sampling.num_prompt_logprobs = 2;
  return request;
}

TEST(PromptLogprobsTest, ComeChunkByChunk) {
  Harness harness(SmallConfig());
  harness.Add(Scored(1, Prompt(70), 3));
  harness.RunToEnd();
  EXPECT_EQ(harness.result(1).prompt_ranks.size(), 69u);
  harness.ExpectOutputs();
}

// What each step is asked for: the tokens that follow what it runs, to the prompt's end.
TEST(PromptLogprobsTest, AreAskedForOnce) {
  Scheduler scheduler(SmallConfig());
  scheduler.Add(Scored(1, Prompt(70), 3));
  std::vector<std::vector<int32_t>> spans;
  for (int32_t step = 0; step < 4; ++step) {
    const StepInput input = scheduler.Schedule(absl::UnixEpoch());
    const ScheduledSequence& row = input.sequences.at(0);
    spans.push_back({row.prompt_logprobs.first, row.prompt_logprobs.count});
    SequenceOutput output;
    output.prompt_logprobs.resize(row.prompt_logprobs.count, {-1, 1, {}});
    if (row.num_wanted() > 0) output.sampled.push_back({7, -1, {}});
    scheduler.Commit({{output}, {}}, absl::UnixEpoch());
  }
  EXPECT_THAT(spans, ElementsAre(ElementsAre(1, 32), ElementsAre(33, 32), ElementsAre(65, 5),
                                 ElementsAre(0, 0)));
}

TEST(PromptLogprobsTest, OfOneTokenThereAreNone) {
  Harness harness(SmallConfig());
  harness.Add(Scored(1, Prompt(1), 2));
  harness.RunToEnd();
  EXPECT_TRUE(harness.result(1).prompt_ranks.empty());
  harness.ExpectOutputs();
}

// Its prefix is in the cache, and it enters its own there: others find it.
TEST(PromptLogprobsTest, TakeNothingFromThePrefixCache) {
  Harness harness(SmallConfig());
  harness.Add(MakeRequest(1, Prompt(40), 2));
  harness.RunToEnd();
  harness.Add(Scored(2, Prompt(40), 2));
  harness.RunToEnd();
  EXPECT_EQ(harness.result(2).finish->cached_tokens, 0);
  EXPECT_EQ(harness.scheduler().totals().prefix_queries, 40) << "of the first";
  harness.Add(Scored(3, Prompt(24, 500), 2));
  harness.RunToEnd();
  harness.Add(MakeRequest(4, Prompt(24, 500), 2));
  harness.RunToEnd();
  EXPECT_EQ(harness.result(4).finish->cached_tokens, 20);
  harness.ExpectOutputs();
}

// Nor does it wait for a better served one to enter the prefix they share.
TEST(PromptLogprobsTest, DoNotWaitForAPrefix) {
  Harness harness(SmallConfig());
  harness.Add(MakeRequest(1, Prompt(20), 2));
  harness.Add(Scored(2, Prompt(20), 2));
  const std::vector<Row> rows = harness.Step();
  EXPECT_TRUE(Harness::Ran(rows, 1) && Harness::Ran(rows, 2));
  harness.RunToEnd();
  harness.ExpectOutputs();
}

// A sequence that comes back has all its log probabilities once.
TEST(PromptLogprobsTest, SurvivePreemptions) {
  SchedulerConfig config = TinyPoolConfig();
  config.max_num_batched_tokens = 12;
  for (const int32_t steps : {1, 2, 3, 5}) {
    Harness harness(config);
    harness.Add(Scored(1, Prompt(30), 6));
    for (int32_t i = 0; i < steps; ++i) harness.Step();
    auto urgent = Scored(2, Prompt(30, 300), 3);
    urgent->priority = -1;
    harness.Add(std::move(urgent));
    harness.RunToEnd();
    EXPECT_EQ(harness.result(1).finish->preemptions, 1) << steps;
    EXPECT_EQ(harness.result(1).prompt_ranks.size(), 29u);
    harness.ExpectOutputs();
  }
}

TEST(PromptLogprobsTest, OfACorruptPromptEndIt) {
  for (const int32_t max_tokens : {0, 5}) {
    Harness harness(SmallConfig());
    harness.Add(Scored(1, Prompt(70), max_tokens));
    harness.Add(Scored(2, Prompt(70, 300), max_tokens));
    harness.Fault(1);
    harness.RunToEnd();
    EXPECT_EQ(harness.result(1).finish->reason, FinishReason::kError);
    EXPECT_TRUE(harness.result(2).finish->status.ok());
    EXPECT_EQ(harness.scheduler().totals().corrupt_sequences, 1);
    harness.ExpectOutputs();
  }
}

TEST(PromptAloneTest, IsComputedAndNothingSaid) {
  Harness harness(SmallConfig());
  harness.Add(Scored(1, Prompt(70), 0));
  EXPECT_THAT(harness.Step(), ElementsAre(Row{1, 0, 32, false, false}));
  EXPECT_THAT(harness.Step(), ElementsAre(Row{1, 32, 32, false, false}));
  EXPECT_THAT(harness.Step(), ElementsAre(Row{1, 64, 6, false, false}));
  ASSERT_TRUE(harness.finished(1));
  const FinishInfo& info = *harness.result(1).finish;
  EXPECT_EQ(info.reason, FinishReason::kLength);
  EXPECT_TRUE(info.status.ok());
  EXPECT_EQ(info.output_tokens, 0);
  EXPECT_EQ(info.first_token, absl::InfinitePast());
  EXPECT_EQ(harness.scheduler().totals().prompt_computed, 70);
  EXPECT_EQ(harness.scheduler().totals().generated, 0);
  harness.ExpectOutputs();
}

// As long as the model's length: no token needs room beside it. It fills the prefix cache.
TEST(PromptAloneTest, MayBeAsLongAsTheModel) {
  Harness harness(SmallConfig());
  harness.Add(MakeRequest(1, Prompt(200), 0));
  harness.RunToEnd();
  EXPECT_TRUE(harness.result(1).finish->status.ok());
  harness.Add(MakeRequest(2, Prompt(200), 0));
  harness.RunToEnd();
  EXPECT_EQ(harness.result(2).finish->cached_tokens, 196);
  harness.ExpectOutputs();
}

TEST(PromptAloneTest, RunsBesideOthersAheadOrNot) {
  for (const bool overlap : {false, true}) {
    Harness harness(SmallConfig());
    harness.overlap = overlap;
    for (SequenceId id = 1; id <= 12; ++id) {
      const auto first = static_cast<TokenId>(50 * id);
      const int32_t size = 7 + 5 * static_cast<int32_t>(id);
      harness.Add(id % 2 == 0 ? Scored(id, Prompt(size, first), id % 4 == 0 ? 0 : 8)
                              : MakeRequest(id, Prompt(size, first), id % 3 == 0 ? 0 : 8));
    }
    harness.RunToEnd();
    EXPECT_EQ(harness.num_ahead() > 0, overlap);
    harness.ExpectOutputs();
  }
}

}  // namespace
}  // namespace tidal
