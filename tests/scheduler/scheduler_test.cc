// Policy: who runs and who waits. Blocks are in scheduler_memory_test.cc, attention's rules in
// scheduler_attention_test.cc.
#include "scheduler/scheduler.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Row = Harness::Row;

// Tokens a request ran in a step.
int32_t TokensOf(const std::vector<Row>& rows, SequenceId id) {
  int32_t tokens = 0;
  for (const Row& row : rows) tokens += row.id == id ? row.num_new_tokens : 0;
  return tokens;
}

TEST(SchedulerTest, AnEmptySchedulerHasNoStep) {
  Harness harness(SmallConfig());
  EXPECT_TRUE(harness.scheduler().empty());
  EXPECT_THAT(harness.Step(), IsEmpty());
  EXPECT_EQ(harness.scheduler().totals().steps, 0);
}

TEST(SchedulerTest, RunsAPromptInChunksAndThenDecodes) {
  Harness harness(SmallConfig());
  harness.Add(MakeRequest(1, Prompt(70), 3));
  EXPECT_THAT(harness.Step(), ElementsAre(Row{1, 0, 32, false, false}));
  EXPECT_THAT(harness.Step(), ElementsAre(Row{1, 32, 32, false, false}));
  EXPECT_THAT(harness.Step(), ElementsAre(Row{1, 64, 6, false, true}));
  EXPECT_THAT(harness.Step(), ElementsAre(Row{1, 70, 1, true, true}));
  EXPECT_THAT(harness.Step(), ElementsAre(Row{1, 71, 1, true, true}));
  EXPECT_TRUE(harness.finished(1));
  EXPECT_THAT(harness.Step(), IsEmpty());
  harness.ExpectOutputs();
}

TEST(SchedulerTest, ReportsCountsAndTimes) {
  Harness harness(SmallConfig());
  const absl::Time start = harness.now;
  harness.Add(MakeRequest(1, Prompt(40), 4));
  for (int32_t i = 1; !harness.finished(1); ++i) {
    harness.now = start + absl::Seconds(i);
    harness.Step();
  }
  const FinishInfo& info = *harness.result(1).finish;
  EXPECT_EQ(info.reason, FinishReason::kLength);
  EXPECT_TRUE(info.status.ok());
  EXPECT_EQ(info.stop_token, -1);
  EXPECT_EQ(info.prompt_tokens, 40);
  EXPECT_EQ(info.cached_tokens, 0);
  EXPECT_EQ(info.output_tokens, 4);
  EXPECT_EQ(info.dense_steps, 3);
  EXPECT_EQ(info.sparse_steps, 0);
  EXPECT_EQ(info.preemptions, 0);
  EXPECT_EQ(info.arrival, start);
  EXPECT_EQ(info.first_scheduled, start + absl::Seconds(1));
  EXPECT_EQ(info.first_token, start + absl::Seconds(2));
  EXPECT_EQ(info.finish, start + absl::Seconds(5));
  harness.Add(MakeRequest(2, Prompt(40), 4));
  harness.RunToEnd();
  const SchedulerTotals& totals = harness.scheduler().totals();
  EXPECT_EQ(totals.prompt_computed, 40 + 4);
  EXPECT_EQ(totals.prompt_cached, 36);
  EXPECT_EQ(totals.generated, 8);
}

TEST(SchedulerTest, DecodeRowsAreInEveryStepAndPromptsFillTheRest) {
  Harness harness(SmallConfig());
  for (SequenceId id = 1; id <= 4; ++id) harness.Add(MakeRequest(id, Prompt(5, 100 * id), 30));
  harness.Step();
  harness.Add(MakeRequest(5, Prompt(100, 1000), 2));
  for (int32_t step = 0; step < 4; ++step) {
    const std::vector<Row> rows = harness.Step();
    for (SequenceId id = 1; id <= 4; ++id) EXPECT_EQ(TokensOf(rows, id), 1);
    EXPECT_EQ(TokensOf(rows, 5), step < 3 ? 28 : 100 - 3 * 28);
    for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(rows[i].is_decode) << "decode rows come first";
  }
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST(SchedulerTest, AFullDecodeBatchStillLetsAPromptAdvance) {
  SchedulerConfig config = SmallConfig();
  config.max_num_batched_tokens = config.max_num_seqs + 1;
  Harness harness(config);
  for (SequenceId id = 1; id <= 7; ++id) harness.Add(MakeRequest(id, Prompt(1, 10 * id), 50));
  while (harness.scheduler().num_running() < 7) harness.Step();
  harness.Add(MakeRequest(8, Prompt(20, 1000), 2));
  for (int32_t step = 0; step < 10; ++step) EXPECT_EQ(TokensOf(harness.Step(), 8), 2);
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST(SchedulerTest, AShortPromptOvertakesWithinTheStepOfAHugeOne) {
  Harness harness(SmallConfig());
  harness.Add(MakeRequest(1, Prompt(150, 1000), 2));
  harness.Step();
  harness.Add(MakeRequest(2, Prompt(6), 2));
  const std::vector<Row> rows = harness.Step();
  EXPECT_EQ(TokensOf(rows, 2), 6);
  EXPECT_EQ(TokensOf(rows, 1), 26);
  harness.Step();
  EXPECT_TRUE(harness.finished(2));
  EXPECT_FALSE(harness.finished(1));
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST(SchedulerTest, ServesByPriorityThenArrival) {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 1;
  Harness harness(config);
  std::vector<SequenceId> order;
  for (SequenceId id = 1; id <= 5; ++id) {
    auto request = MakeRequest(id, Prompt(3, 10 * id), 1);
    request->priority = id == 4 ? -1 : id == 1 ? 2 : 0;
    harness.Add(std::move(request));
  }
  while (!harness.scheduler().empty()) order.push_back(harness.Step().at(0).id);
  EXPECT_THAT(order, ElementsAre(4, 2, 3, 5, 1));
}

TEST(SchedulerTest, NeverRunsMoreThanItsSeats) {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 3;
  Harness harness(config);
  for (SequenceId id = 1; id <= 9; ++id) harness.Add(MakeRequest(id, Prompt(3, 10 * id), 5));
  while (!harness.scheduler().empty()) EXPECT_LE(harness.Step().size(), 3);
  harness.ExpectOutputs();
}

TEST(SchedulerTest, AbortEndsARequestInEveryState) {
  Harness harness(TinyPoolConfig());
  harness.Add(MakeRequest(1, Prompt(4, 100), 30));
  harness.Add(MakeRequest(2, Prompt(4, 200), 30));
  while (harness.scheduler().totals().preemptions == 0) harness.Step();  // 2 was preempted
  harness.Add(MakeRequest(3, Prompt(20, 300), 5));                       // new
  harness.Abort(3);
  harness.Abort(2);
  EXPECT_EQ(harness.scheduler().num_waiting(), 0);
  harness.Step();
  harness.Abort(1);  // decoding
  EXPECT_TRUE(harness.scheduler().empty());
  EXPECT_EQ(harness.scheduler().blocks().num_available(), 10);
  harness.Add(MakeRequest(4, Prompt(40, 400), 1));
  EXPECT_EQ(TokensOf(harness.Step(), 4), 32);
  harness.Abort(4);  // in the middle of its prompt
  EXPECT_EQ(harness.scheduler().blocks().num_available(), 10);
  for (SequenceId id = 1; id <= 4; ++id) {
    EXPECT_EQ(harness.result(id).finish->reason, FinishReason::kCancelled);
    EXPECT_EQ(harness.result(id).finish->status.code(), absl::StatusCode::kCancelled);
  }
  EXPECT_EQ(harness.result(3).finish->first_scheduled, absl::InfinitePast());
  EXPECT_EQ(harness.result(4).finish->first_token, absl::InfinitePast());
  harness.Abort(4);   // ended
  harness.Abort(99);  // never known
  harness.ExpectOutputs();
}

TEST(SchedulerTest, DeadlinesEndRunningAndWaitingRequests) {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 1;
  Harness harness(config);
  for (SequenceId id = 1; id <= 2; ++id) {
    auto request = MakeRequest(id, Prompt(4, 100 * id), 30);
    request->deadline = harness.now + absl::Seconds(5);
    harness.Add(std::move(request));
  }
  harness.Add(MakeRequest(3, Prompt(4, 300), 2));
  for (int32_t i = 0; i < 4; ++i) {
    harness.now += absl::Seconds(1);
    EXPECT_TRUE(Harness::Ran(harness.Step(), 1));
  }
  harness.now += absl::Seconds(1);
  EXPECT_TRUE(Harness::Ran(harness.Step(), 3));
  for (SequenceId id = 1; id <= 2; ++id) {
    ASSERT_TRUE(harness.finished(id));
    EXPECT_EQ(harness.result(id).finish->reason, FinishReason::kCancelled);
    EXPECT_EQ(harness.result(id).finish->status.code(), absl::StatusCode::kDeadlineExceeded);
  }
  EXPECT_EQ(harness.result(1).tokens.size(), 4);
  harness.RunToEnd();
  harness.ExpectOutputs();
}

TEST(SchedulerTest, AllPastTheirDeadlineLeaveAnEmptyStep) {
  Harness harness(SmallConfig());
  auto request = MakeRequest(1, Prompt(4), 3);
  request->deadline = harness.now;
  harness.Add(std::move(request));
  EXPECT_THAT(harness.Step(), IsEmpty());
  EXPECT_TRUE(harness.finished(1));
}

TEST(SchedulerTest, StopTokensEndARequestAndAreItsLastToken) {
  Harness harness(SmallConfig());
  const std::vector<TokenId> free_run =
      KvExecutor::ExpectedOutput(*MakeRequest(9, Prompt(5), 10), SmallConfig(), kTestVocabSize);
  auto request = MakeRequest(1, Prompt(5), 10);
  request->stop.stop_token_ids = {free_run[3]};
  harness.Add(std::move(request));
  harness.RunToEnd();
  EXPECT_THAT(harness.result(1).tokens,
              ElementsAre(free_run[0], free_run[1], free_run[2], free_run[3]));
  EXPECT_EQ(harness.result(1).finish->reason, FinishReason::kStop);
  EXPECT_EQ(harness.result(1).finish->stop_token, free_run[3]);
}

TEST(SchedulerTest, MinTokensForbidsStopTokens) {
  SchedulerConfig config = SmallConfig();
  Harness harness(config);
  const std::vector<TokenId> free_run =
      KvExecutor::ExpectedOutput(*MakeRequest(9, Prompt(5), 10), config, kTestVocabSize);
  auto request = MakeRequest(1, Prompt(5), 10);
  request->stop.stop_token_ids = {free_run[3]};
  request->stop.min_tokens = 6;
  harness.Add(std::move(request));
  harness.RunToEnd();
  const std::vector<TokenId>& tokens = harness.result(1).tokens;
  EXPECT_GE(tokens.size(), 6);
  EXPECT_EQ(std::count(tokens.begin(), tokens.begin() + 6, free_run[3]), 0);
  harness.ExpectOutputs();
}

TEST(SchedulerTest, AbortAllEndsEverythingAlsoInTheMiddleOfAStep) {
  Scheduler scheduler(TinyPoolConfig());
  for (SequenceId id = 1; id <= 4; ++id) scheduler.Add(MakeRequest(id, Prompt(12, 100 * id), 9));
  const StepInput input = scheduler.Schedule(absl::UnixEpoch());
  EXPECT_FALSE(input.sequences.empty());
  scheduler.AbortAll(FinishReason::kError, absl::UnavailableError("broken"), absl::UnixEpoch());
  EXPECT_TRUE(scheduler.empty());
  const SchedulerEvents events = scheduler.TakeEvents();
  ASSERT_THAT(events.finishes, SizeIs(4));
  for (const auto& finish : events.finishes) {
    EXPECT_EQ(finish.info.reason, FinishReason::kError);
    EXPECT_EQ(finish.info.status.message(), "broken");
  }
  EXPECT_THAT(scheduler.TakeEvents().finishes, IsEmpty());
  EXPECT_EQ(scheduler.blocks().num_available(), 10);
  StepOutput output;  // of a step that did not fail: nobody is left to take it
  output.sequences.resize(input.sequences.size());
  scheduler.Commit(output, absl::UnixEpoch());
  EXPECT_THAT(scheduler.Schedule(absl::UnixEpoch()).sequences, IsEmpty());
}

TEST(SchedulerDeathTest, BrokenPromisesAreFatal) {
  Scheduler scheduler(SmallConfig());
  scheduler.Add(MakeRequest(1, Prompt(3), 2));
  EXPECT_DEATH(scheduler.Add(MakeRequest(1, Prompt(3), 2)), "CHECK failed") << "an id in use";
  EXPECT_DEATH(scheduler.Commit({}, absl::UnixEpoch()), "CHECK failed") << "no step";
  scheduler.Schedule(absl::UnixEpoch());
  EXPECT_DEATH(scheduler.Schedule(absl::UnixEpoch()), "CHECK failed") << "a step is in flight";
  EXPECT_DEATH(scheduler.Commit({}, absl::UnixEpoch()), "CHECK failed") << "a row is missing";
  StepOutput output;
  output.sequences.resize(1);
  EXPECT_DEATH(scheduler.Commit(output, absl::UnixEpoch()), "CHECK failed") << "no token";
  EXPECT_DEATH(Scheduler(SchedulerConfig{}), "CHECK failed") << "an invalid configuration";
}

}  // namespace
}  // namespace tidal
