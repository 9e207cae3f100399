// The step after the one in flight: what it holds, when there is none, and what happens between.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/invariants.h"
#include "scheduler/scheduler.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Time kNow = absl::UnixEpoch();
constexpr TokenId kToken = 900;  // what every row samples

class ScheduleAheadTest : public ::testing::Test {
 protected:
  void Start(const SchedulerConfig& config = SmallConfig()) {
    scheduler_ = std::make_unique<Scheduler>(config);
  }
  Request& Add(SequenceId id, int32_t prompt_size, int32_t max_tokens = 50, int32_t priority = 0) {
    auto request = MakeRequest(id, Prompt(prompt_size, 100 * static_cast<TokenId>(id)), max_tokens);
    request->priority = priority;
    Request& added = *request;
    scheduler_->Add(std::move(request));
    return added;
  }
  static StepOutput OutputOf(const StepInput& input) {
    StepOutput output;
    for (const ScheduledSequence& sequence : input.sequences) {
      SequenceOutput& row = output.sequences.emplace_back();
      if (sequence.num_wanted() > 0) row.sampled.push_back({kToken, -1.0f, {}});
      row.ran_sparse = sequence.wants_sparse();
    }
    return output;
  }
  void Commit(const StepInput& input) {
    scheduler_->Commit(OutputOf(input), kNow);
    EXPECT_THAT(FindViolations(scheduler_->Snapshot()), IsEmpty());
  }
  // Whole steps, until the next one is of decode rows only; that one is in flight then.
  StepInput LaunchDecodeStep() {
    for (;;) {
      StepInput input = scheduler_->Schedule(kNow);
      if (std::all_of(input.sequences.begin(), input.sequences.end(),
                      [](const ScheduledSequence& s) {
                        return s.kind == RowKind::kDecode && s.num_wanted() > 0;
                      })) {
        return input;
      }
      Commit(input);
    }
  }
  std::optional<StepInput> Ahead() { return scheduler_->ScheduleAhead(kNow); }
  static std::vector<SequenceId> Ids(const StepInput& input) {
    std::vector<SequenceId> ids;
    for (const ScheduledSequence& sequence : input.sequences) ids.push_back(sequence.id);
    return ids;
  }
  // Ends the requests that are left.
  void TearDown() override {
    scheduler_->AbortAll(FinishReason::kCancelled, absl::CancelledError("end"), kNow);
    EXPECT_EQ(scheduler_->blocks().num_available(), scheduler_->blocks().num_blocks());
  }

  std::unique_ptr<Scheduler> scheduler_;
};

TEST_F(ScheduleAheadTest, ContinuesEverySequenceByItsPendingToken) {
  Start();
  Add(1, 6);
  Add(2, 3);
  const StepInput first = LaunchDecodeStep();
  const auto second = Ahead();
  ASSERT_TRUE(second.has_value());
  ASSERT_THAT(Ids(*second), ElementsAre(1, 2));
  for (int32_t i = 0; i < 2; ++i) {
    const ScheduledSequence& before = first.sequences[i];
    const ScheduledSequence& row = second->sequences[i];
    EXPECT_EQ(row.num_pending_tokens, 1);
    EXPECT_EQ(row.slot, before.slot);
    EXPECT_FALSE(row.new_in_slot);
    EXPECT_EQ(row.num_sent_blocks, before.block_table.size()) << "only new blocks are sent";
    EXPECT_EQ(row.tokens.size(), before.tokens.size()) << "the pending one is not known";
    EXPECT_EQ(row.num_tokens(), before.num_tokens() + 1);
    EXPECT_EQ(row.num_computed_tokens, before.num_computed_tokens + 1);
    EXPECT_EQ(row.num_new_tokens, 1);
    EXPECT_TRUE(row.kind == RowKind::kDecode && row.num_wanted() > 0);
    EXPECT_GE(row.block_table.size() * 4, row.num_tokens());
  }
  Commit(first);
  EXPECT_TRUE(scheduler_->step_in_flight());
  const auto third = Ahead();
  ASSERT_TRUE(third.has_value()) << "steps chain";
  EXPECT_EQ(third->sequences[0].num_tokens(), second->sequences[0].num_tokens() + 1);
  Commit(*second);
  Commit(*third);
  EXPECT_FALSE(scheduler_->step_in_flight());
  EXPECT_THAT(scheduler_->TakeEvents().tokens, SizeIs(8)) << "one of the prompt, three decoded";
}

TEST_F(ScheduleAheadTest, TakesABlockWhereThePendingTokenNeedsOne) {
  Start();
  Add(1, 7);  // the step in flight runs the eighth token, of two full blocks
  const StepInput first = LaunchDecodeStep();
  EXPECT_EQ(first.sequences[0].block_table.size(), 2);
  const auto second = Ahead();
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->sequences[0].block_table.size(), 3);
  Commit(first);
  Commit(*second);
}

TEST_F(ScheduleAheadTest, WithoutAStepInFlightThereIsNoneAhead) {
  Start();
  EXPECT_FALSE(Ahead().has_value());
}

TEST_F(ScheduleAheadTest, PromptChunksAreNotCertain) {
  Start();
  Add(1, 40);
  Commit(scheduler_->Schedule(kNow));  // 32 of the tokens
  const StepInput last_chunk = scheduler_->Schedule(kNow);
  EXPECT_FALSE(Ahead().has_value());
  Commit(last_chunk);
  scheduler_->Schedule(kNow);
  EXPECT_TRUE(Ahead().has_value());
}

TEST_F(ScheduleAheadTest, APreemptionCostsOneStepThatIsNotCertain) {
  Start(TinyPoolConfig());
  Add(1, 12, 25);
  Add(2, 12, 25).attention = Tidal(14);
  while (!scheduler_->empty()) {
    const StepInput input = scheduler_->Schedule(kNow);
    for (const ScheduledSequence& s : input.sequences) {
      EXPECT_TRUE(s.num_wanted() > 0) << "what was preempted comes back in one chunk";
    }
    Commit(input);
  }
  EXPECT_GE(scheduler_->totals().preemptions, 1);
}

TEST_F(ScheduleAheadTest, LeavesOutWhatEndsByItsLength) {
  SchedulerConfig config = SmallConfig();
  config.max_model_len = 30;
  config.max_num_batched_tokens = 64;
  Start(config);
  Add(1, 5, 2);    // ends with the step in flight
  Add(2, 28, 50);  // reaches the model's length with it
  Add(3, 5, 3);
  const StepInput first = LaunchDecodeStep();
  ASSERT_THAT(Ids(first), ElementsAre(1, 2, 3));
  const auto second = Ahead();
  ASSERT_TRUE(second.has_value());
  EXPECT_THAT(Ids(*second), ElementsAre(3));
  EXPECT_EQ(second->sequences[0].slot, first.sequences[2].slot);
  Commit(first);
  EXPECT_FALSE(Ahead().has_value()) << "all of it ends";
  Commit(*second);
  EXPECT_TRUE(scheduler_->empty());
}

TEST_F(ScheduleAheadTest, MissingBlocksMeanAPreemption) {
  SchedulerConfig config = TinyPoolConfig();
  config.max_num_batched_tokens = 64;
  Start(config);
  Add(1, 19);
  Add(2, 15);
  const StepInput first = LaunchDecodeStep();  // of full blocks: both want another one
  EXPECT_EQ(scheduler_->blocks().num_available(), 1);
  EXPECT_FALSE(Ahead().has_value());
  Commit(first);
}

TEST_F(ScheduleAheadTest, APassedDeadlineIsLeftToSchedule) {
  Start();
  Add(1, 5).deadline = kNow + absl::Seconds(1);
  const StepInput first = LaunchDecodeStep();
  EXPECT_FALSE(scheduler_->ScheduleAhead(kNow + absl::Seconds(1)).has_value());
  EXPECT_TRUE(scheduler_->ScheduleAhead(kNow).has_value());
}

TEST_F(ScheduleAheadTest, ASequenceThatFitsIsLeftToSchedule) {
  Start();
  Add(1, 5);
  const StepInput first = LaunchDecodeStep();
  Add(2, 5);
  EXPECT_FALSE(Ahead().has_value());
}

TEST_F(ScheduleAheadTest, ASequenceWithoutASeatStopsNoStepUntilOneIsFree) {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 1;
  Start(config);
  Add(1, 5, 4);
  const StepInput first = LaunchDecodeStep();  // the second token of four
  Add(2, 5);
  const auto second = Ahead();
  ASSERT_TRUE(second.has_value());
  Commit(first);
  const auto third = Ahead();
  ASSERT_TRUE(third.has_value());
  Commit(*second);
  EXPECT_FALSE(Ahead().has_value()) << "the seat is free after the step in flight";
  Commit(*third);
  EXPECT_THAT(Ids(scheduler_->Schedule(kNow)), ElementsAre(2));
}

TEST_F(ScheduleAheadTest, ASequenceWithoutBlocksStopsNoStep) {
  Start(TinyPoolConfig());
  Add(1, 19);
  LaunchDecodeStep();
  Add(2, 24);  // six of the five blocks that are left
  EXPECT_TRUE(Ahead().has_value());
}

TEST_F(ScheduleAheadTest, ABetterPriorityIsLeftToSchedule) {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 1;
  Start(config);
  Add(1, 5);
  LaunchDecodeStep();
  Add(2, 5, 50, /*priority=*/-1);
  EXPECT_FALSE(Ahead().has_value());
}

TEST_F(ScheduleAheadTest, SamplingNeverNeedsTheTokenOnTheHost) {
  Start();
  SamplingParams& sampling = Add(1, 5).sampling;
  sampling.repetition_penalty = sampling.presence_penalty = sampling.frequency_penalty = 1.5f;
  sampling.temperature = 1;
  sampling.seed = 7;
  sampling.logit_bias = {{3, 2.0f}};
  sampling.num_logprobs = 4;
  auto request = MakeRequest(2, Prompt(5), 50);
  request->stop.min_tokens = 3;
  request->stop.stop_token_ids = {11, 12};
  scheduler_->Add(std::move(request));
  const StepInput first = LaunchDecodeStep();
  const auto second = Ahead();
  ASSERT_TRUE(second.has_value());
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(second->sequences[i].sampling, first.sequences[i].sampling) << "it stays in the slot";
  }
}

TEST_F(ScheduleAheadTest, ACorrectionBeginsAtItsToken) {
  SchedulerConfig config = SmallConfig();
  config.correction_period = 3;
  Start(config);
  Add(1, 10).attention = Tidal(11);
  // Contexts 11 (dense), 12, 13 and 14, after which three tokens are inexact.
  StepInput step = LaunchDecodeStep();
  for (int32_t context = 11; context < 14; ++context) {
    ASSERT_EQ(step.sequences[0].num_computed_tokens + 1, context);
    auto next = Ahead();
    ASSERT_TRUE(next.has_value()) << context;
    Commit(step);
    step = *std::move(next);
  }
  EXPECT_FALSE(Ahead().has_value());
  Commit(step);
  const StepInput correction = scheduler_->Schedule(kNow);
  EXPECT_EQ(correction.sequences[0].kind, RowKind::kPrefill);
  EXPECT_EQ(correction.sequences[0].num_computed_tokens, 11);
}

TEST_F(ScheduleAheadTest, TheRowOfAnEndedSequenceIsIgnored) {
  Start();
  auto request = MakeRequest(1, Prompt(5), 50);
  request->stop.stop_token_ids = {kToken};
  request->stop.min_tokens = 1;  // the first token is another one's
  scheduler_->Add(std::move(request));
  Add(2, 5);
  const StepInput first = LaunchDecodeStep();
  const auto second = Ahead();
  ASSERT_THAT(Ids(second.value()), ElementsAre(1, 2));
  Commit(first);
  EXPECT_EQ(scheduler_->num_running(), 1);
  const auto third = Ahead();
  ASSERT_THAT(Ids(third.value()), ElementsAre(2));
  EXPECT_EQ(third->sequences[0].slot, first.sequences[1].slot);
  Commit(*second);
  Commit(*third);
  const SchedulerEvents events = scheduler_->TakeEvents();
  ASSERT_THAT(events.finishes, SizeIs(1));
  EXPECT_EQ(events.finishes[0].info.reason, FinishReason::kStop);
  EXPECT_EQ(events.finishes[0].info.output_tokens, 2);
  EXPECT_THAT(events.tokens, SizeIs(2 + 4));
}

TEST_F(ScheduleAheadTest, AbortsBetweenLaunchAndCommit) {
  Start();
  for (SequenceId id = 1; id <= 3; ++id) Add(id, 5);
  const StepInput first = LaunchDecodeStep();
  scheduler_->TakeEvents();
  scheduler_->Abort(1, absl::CancelledError("gone"), kNow);
  const auto second = Ahead();
  ASSERT_THAT(Ids(second.value()), ElementsAre(2, 3));
  EXPECT_EQ(second->sequences[0].slot, first.sequences[1].slot);
  scheduler_->Abort(2, absl::CancelledError("gone"), kNow);
  Commit(first);
  Commit(*second);
  const SchedulerEvents events = scheduler_->TakeEvents();
  EXPECT_THAT(events.finishes, SizeIs(2));
  EXPECT_THAT(events.tokens, SizeIs(2)) << "of the third";
  EXPECT_EQ(scheduler_->num_running(), 1);
}

TEST_F(ScheduleAheadTest, StepsWhoseSequencesAreGoneStillEnd) {
  Start();
  Add(1, 5);
  const StepInput first = LaunchDecodeStep();
  const auto second = Ahead();
  scheduler_->AbortAll(FinishReason::kCancelled, absl::CancelledError("all"), kNow);
  EXPECT_TRUE(scheduler_->empty() && scheduler_->step_in_flight());
  Commit(first);
  EXPECT_FALSE(Ahead().has_value());
  Commit(second.value());
  EXPECT_FALSE(scheduler_->step_in_flight());
}

}  // namespace
}  // namespace tidal
