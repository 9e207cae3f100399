// Which rows of a step are masked, and with what: the scheduler's half, without an executor.
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/invariants.h"
#include "scheduler/scheduler.h"
#include "tests/scheduler/fake_constraint.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Time kTheTime = absl::UnixEpoch();
constexpr int32_t kNoMask = StepMasks::kNoMask;

class FillMasksTest : public ::testing::Test {
 protected:
  void Start(const SchedulerConfig& config = SmallConfig()) {
    vocab_size_ = config.vocab_size;
    scheduler_ = std::make_unique<Scheduler>(config);
  }
  Request& Add(SequenceId id, int32_t prompt_size, int32_t max_tokens = 50) {
    auto request = MakeRequest(id, Prompt(prompt_size, 100 * static_cast<TokenId>(id)), max_tokens);
    Request& added = *request;
    scheduler_->Add(std::move(request));
    return added;
  }
  std::shared_ptr<FakeConstraint> AddConstrained(SequenceId id, int32_t prompt_size,
                                                 FakeConstraint::Rule rule = {}) {
    rule.vocab_size = vocab_size_;
    auto constraint = std::make_shared<FakeConstraint>(rule);
    Add(id, prompt_size).constraint = constraint;
    return constraint;
  }
  // Every row that wants a token samples one that FakeConstraint's usual rule allows.
  void Commit(const StepInput& input) {
    StepOutput output;
    for (const ScheduledSequence& sequence : input.sequences) {
      SequenceOutput& row = output.sequences.emplace_back();
      const int32_t place = sequence.num_tokens() - sequence.num_prompt_tokens;
      if (sequence.num_wanted() > 0) row.sampled.push_back({9 + place % 3, -1.0f, {}});
    }
    scheduler_->Commit(output, kTheTime);
    EXPECT_THAT(FindViolations(scheduler_->Snapshot()), IsEmpty());
  }
  static std::vector<bool> Masked(const StepInput& input) {
    std::vector<bool> masked;
    for (const ScheduledSequence& sequence : input.sequences) masked.push_back(sequence.masked);
    return masked;
  }
  // Is the row's mask what the constraint allows at this place?
  void ExpectMask(const StepMasks& masks, int32_t row, const FakeConstraint& constraint,
                  int32_t place) const {
    const size_t num_words = (vocab_size_ + 31) / 32;
    ASSERT_NE(masks.of_sequences[row], kNoMask);
    ASSERT_LE((masks.of_sequences[row] + 1) * num_words, masks.words.size());
    const uint32_t* const mask = masks.words.data() + masks.of_sequences[row] * num_words;
    for (TokenId token = 0; token < vocab_size_; ++token) {
      ASSERT_EQ(mask[token / 32] >> (token % 32) & 1, constraint.Allows(place, token)) << token;
    }
  }

  int32_t vocab_size_ = 0;
  std::unique_ptr<Scheduler> scheduler_;
};

TEST_F(FillMasksTest, MasksAreOfTheRowsThatWantAToken) {
  for (const int32_t vocab_size : {1000, 1024, 1025, 33}) {
    SchedulerConfig config = SmallConfig();
    config.vocab_size = vocab_size;
    Start(config);
    const auto first = AddConstrained(1, 4);
    Add(2, 4);
    const StepInput prompts = scheduler_->Schedule(kTheTime);
    EXPECT_THAT(Masked(prompts), ElementsAre(true, false));
    StepMasks masks = scheduler_->FillMasks();
    EXPECT_THAT(masks.of_sequences, ElementsAre(0, kNoMask));
    ExpectMask(masks, 0, *first, 0);
    Commit(prompts);

    // Two decode, one ends its prompt, one begins a prompt of two chunks.
    const auto third = AddConstrained(3, 5, {.divisor = 7});
    const auto fourth = AddConstrained(4, 40);
    const StepInput mixed = scheduler_->Schedule(kTheTime);
    ASSERT_THAT(mixed.sequences, SizeIs(4));
    ASSERT_EQ(mixed.sequences[3].id, 4);
    ASSERT_EQ(mixed.sequences[3].wanted, Wanted::kNone);
    EXPECT_THAT(Masked(mixed), ElementsAre(true, false, true, false));
    masks = scheduler_->FillMasks();
    EXPECT_THAT(masks.of_sequences, ElementsAre(0, kNoMask, 1, kNoMask));
    EXPECT_THAT(masks.words, SizeIs(2 * ((vocab_size + 31) / 32)));
    ExpectMask(masks, 0, *first, 1);
    ExpectMask(masks, 2, *third, 0);
    EXPECT_EQ(fourth->num_fills(), 0) << "nothing is wanted of it yet";
  }
}

TEST_F(FillMasksTest, WhereAllTokensMayComeThereIsNoMask) {
  Start();
  AddConstrained(1, 4, {.free_from = 0});
  const auto second = AddConstrained(2, 4);
  StepInput input = scheduler_->Schedule(kTheTime);
  EXPECT_THAT(Masked(input), ElementsAre(true, true)) << "it is known when it is asked";
  const StepMasks masks = scheduler_->FillMasks();
  EXPECT_THAT(masks.of_sequences, ElementsAre(kNoMask, 0));
  EXPECT_THAT(masks.words, SizeIs((vocab_size_ + 31) / 32));
  ExpectMask(masks, 1, *second, 0);
}

TEST_F(FillMasksTest, StepsOfNobodyConstrainedAreNotMasked) {
  Start();
  Add(1, 4);
  const StepInput prompt = scheduler_->Schedule(kTheTime);
  EXPECT_FALSE(prompt.masked());
  Commit(prompt);
  EXPECT_FALSE(scheduler_->Schedule(kTheTime).masked());
}

TEST_F(FillMasksTest, AStepAheadGetsItsMasksOnceTheTokensBeforeAreKnown) {
  Start();
  const auto constraint = AddConstrained(1, 4);
  Add(2, 4);
  Commit(scheduler_->Schedule(kTheTime));
  const StepInput first = scheduler_->Schedule(kTheTime);
  ExpectMask(scheduler_->FillMasks(), 0, *constraint, 1);
  const std::optional<StepInput> second = scheduler_->ScheduleAhead(kTheTime);
  ASSERT_TRUE(second.has_value());
  EXPECT_THAT(Masked(*second), ElementsAre(true, false));
  EXPECT_THAT(constraint->told(), SizeIs(1));
  Commit(first);
  EXPECT_THAT(constraint->told(), SizeIs(2));
  ExpectMask(scheduler_->FillMasks(), 0, *constraint, 2);
}

TEST_F(FillMasksTest, TheRowOfAnEndedSequenceHasNone) {
  Start();
  const auto complete = AddConstrained(1, 4, {.length = 2});
  const auto aborted = AddConstrained(2, 4), goes_on = AddConstrained(3, 4);
  Commit(scheduler_->Schedule(kTheTime));
  const StepInput first = scheduler_->Schedule(kTheTime);
  const std::optional<StepInput> second = scheduler_->ScheduleAhead(kTheTime);
  EXPECT_THAT(Masked(second.value()), ElementsAre(true, true, true));
  scheduler_->Abort(2, absl::CancelledError("gone"), kTheTime);
  Commit(first);
  EXPECT_EQ(scheduler_->num_running(), 1);
  const StepMasks masks = scheduler_->FillMasks();
  EXPECT_THAT(masks.of_sequences, ElementsAre(kNoMask, kNoMask, 0));
  ExpectMask(masks, 2, *goes_on, 2);
  EXPECT_EQ(complete->num_fills() + aborted->num_fills(), 0);
  Commit(*second);
  EXPECT_THAT(complete->told(), SizeIs(2));
  EXPECT_THAT(aborted->told(), SizeIs(1));
}

TEST_F(FillMasksTest, AStepWhoseSequencesAreGoneHasNone) {
  Start();
  AddConstrained(1, 4);
  AddConstrained(2, 4);
  const StepInput input = scheduler_->Schedule(kTheTime);
  scheduler_->AbortAll(FinishReason::kCancelled, absl::CancelledError("all"), kTheTime);
  const StepMasks masks = scheduler_->FillMasks();
  EXPECT_THAT(masks.of_sequences, ElementsAre(kNoMask, kNoMask));
  EXPECT_THAT(masks.words, IsEmpty());
  Commit(input);
  EXPECT_FALSE(scheduler_->step_in_flight());
}

TEST_F(FillMasksTest, TheRowThatAPreemptedSequenceComesBackInIsMaskedAtItsEndOnly) {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 1;
  config.max_num_batched_tokens = 8;
  config.enable_prefix_caching = false;
  Start(config);
  const auto constraint = AddConstrained(1, 12);
  while (constraint->told().size() < 4) {
    const StepInput input = scheduler_->Schedule(kTheTime);
    if (input.masked())
      ExpectMask(scheduler_->FillMasks(), 0, *constraint, constraint->told().size());
    Commit(input);
  }
  auto better = MakeRequest(2, Prompt(4), 1);
  better->priority = -1;
  scheduler_->Add(std::move(better));
  Commit(scheduler_->Schedule(kTheTime));
  ASSERT_EQ(scheduler_->totals().preemptions, 1);

  const int32_t fills = constraint->num_fills();
  std::vector<bool> masked;
  while (constraint->told().size() < 5) {
    const StepInput input = scheduler_->Schedule(kTheTime);
    masked.push_back(input.masked());
    if (input.masked()) ExpectMask(scheduler_->FillMasks(), 0, *constraint, 4);
    Commit(input);
  }
  EXPECT_GT(masked.size(), 1u) << "it comes back in chunks";
  EXPECT_TRUE(masked.back());
  masked.pop_back();
  EXPECT_THAT(masked, Each(false));
  EXPECT_EQ(constraint->num_fills(), fills + 1);
}

// The constraint says itself where stop tokens may come.
TEST_F(FillMasksTest, MinTokensBanNothingOfAConstrainedSequence) {
  Start();
  for (SequenceId id : {1, 2}) {
    auto request = MakeRequest(id, Prompt(4), 50);
    request->stop.min_tokens = 3;
    request->stop.stop_token_ids = {9, 11};
    if (id == 1) request->constraint = std::make_shared<FakeConstraint>(FakeConstraint::Rule());
    scheduler_->Add(std::move(request));
  }
  const StepInput input = scheduler_->Schedule(kTheTime);
  EXPECT_THAT(input.sequences[0].sampling->banned_tokens, IsEmpty());
  EXPECT_EQ(input.sequences[0].sampling->min_tokens, 0);
  EXPECT_THAT(input.sequences[1].sampling->banned_tokens, ElementsAre(9, 11));
  // A stop token that it let through before min_tokens is a token like others.
  Commit(input);
  EXPECT_EQ(scheduler_->num_running(), 2);
}

}  // namespace
}  // namespace tidal
