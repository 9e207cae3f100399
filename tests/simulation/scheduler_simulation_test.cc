// Seeded random load against the scheduler: arrivals, lengths, priorities, tenants, cancellations,
// deadlines, longest waits, attention modes, corrections, drafts right and wrong, constraints,
// faults, log probabilities of prompts, prompts alone, and pools of a few blocks. After every step
// the invariants hold; at the end every request has ended once, with the tokens and the log
// probabilities it would have received alone, and every block is back.
#include <algorithm>
#include <cstdint>
#include <iostream>
#include <memory>
#include <random>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "scheduler/scheduler.h"
#include "tests/scheduler/fake_constraint.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

constexpr int32_t kVocabSize = 60;

class Simulation {
 public:
  explicit Simulation(int32_t seed) : random_(seed), config_(MakeConfig()) {}

  void Run(int32_t num_steps, bool overlap) {
    Harness harness(config_, kVocabSize);
    harness.overlap = overlap;
    harness.through_codec = Chance(50);
    for (int32_t step = 0; step < num_steps && !testing::Test::HasFailure(); ++step) {
      harness.now += absl::Milliseconds(1);
      if (harness.scheduler().num_waiting() < 12 && Chance(arrival_percent_)) {
        harness.Add(RandomRequest(harness.now));
      }
      if (next_id_ > 1 && Chance(3)) {
        const SequenceId recent = std::min<SequenceId>(next_id_ - 1, 15);
        harness.Abort(next_id_ - Uniform(1, static_cast<int32_t>(recent)));
      }
      if (next_id_ > 1 && has_faults_ && Chance(2)) {
        harness.Fault(next_id_ -
                      Uniform(1, static_cast<int32_t>(std::min<SequenceId>(next_id_ - 1, 4))));
      }
      if (next_id_ > 1 && Chance(draft_percent_)) {
        for (int32_t i = Uniform(1, 4); i > 0; --i) {
          const int32_t recent = static_cast<int32_t>(std::min<SequenceId>(next_id_ - 1, 9));
          const int32_t size = Uniform(0, 20);
          harness.SetDraft(next_id_ - Uniform(1, recent), size, Uniform(0, size));
        }
      }
      harness.Step();
    }
    harness.RunToEnd();
    harness.ExpectOutputs();
    EXPECT_EQ(harness.results().size(), next_id_ - 1);
    totals_ = harness.scheduler().totals();
    num_ahead_ = harness.num_ahead();
    EXPECT_EQ(harness.scheduler().blocks().num_available(), config_.num_blocks);
    num_masked_ = harness.num_masked();
    int64_t corrupt = 0;
    for (const auto& [id, result] : harness.results()) {
      CheckCounts(*result.finish);
      num_prompt_logprobs_ += static_cast<int64_t>(result.prompt_ranks.size());
      const bool is_error = result.finish->reason == FinishReason::kError;
      const auto* const constraint =
          static_cast<const FakeConstraint*>(result.request.constraint.get());
      if (constraint != nullptr) CheckConstraint(*constraint, result);
      const bool refused = constraint != nullptr && constraint->has_refused();
      EXPECT_TRUE(is_error || !refused);
      num_refused_ += refused;
      corrupt += is_error && !refused;
    }
    EXPECT_EQ(totals_.corrupt_sequences, corrupt);
  }

  int64_t num_requests() const { return next_id_ - 1; }
  const SchedulerTotals& totals() const { return totals_; }
  int64_t num_ahead() const { return num_ahead_; }
  int64_t num_prompt_logprobs() const { return num_prompt_logprobs_; }
  int64_t num_masked() const { return num_masked_; }
  int64_t num_complete() const { return num_complete_; }
  int64_t num_refused() const { return num_refused_; }

 private:
  int32_t Uniform(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random_);
  }
  bool Chance(int32_t percent) { return Uniform(1, 100) <= percent; }

  SchedulerConfig MakeConfig() {
    SchedulerConfig config;
    config.mask_threads = 3;
    config.block_size = Uniform(1, 5);
    config.num_blocks = Uniform(4, 40);
    config.max_model_len = std::min(100, config.num_blocks * config.block_size + 1);
    config.vocab_size = kVocabSize;
    config.max_num_seqs = Uniform(1, 9);
    config.max_num_batched_tokens = config.max_num_seqs + Uniform(1, 30);
    config.enable_prefix_caching = Chance(80);
    config.correction_period = Chance(50) ? Uniform(1, 9) : 0;
    draft_percent_ = Chance(60) ? Uniform(5, 60) : 0;
    if (draft_percent_ > 0) config.max_sampled_tokens = config.max_num_seqs + Uniform(0, 60);
    arrival_percent_ = Uniform(10, 60);
    has_tenants_ = Chance(50);
    has_faults_ = Chance(40);
    constraint_percent_ = Chance(50) ? Uniform(5, 60) : 0;
    if (Chance(30)) config.max_queue_time = absl::Milliseconds(Uniform(1, 200));
    return config;
  }

  std::unique_ptr<Request> RandomRequest(absl::Time now) {
    const int32_t longest = config_.max_model_len - 1;
    const int32_t size = Chance(15) ? Uniform(1, longest) : Uniform(1, std::min(longest, 20));
    auto request = MakeRequest(next_id_++, RandomPrompt(size), 1);
    const int32_t room = config_.max_model_len - size;
    request->stop.max_tokens = Uniform(1, std::min(room, Chance(20) ? room : 12));
    request->stop.min_tokens = Chance(30) ? Uniform(0, request->stop.max_tokens) : 0;
    if (Chance(70)) request->stop.stop_token_ids = {3, Uniform(0, kVocabSize - 1)};
    request->priority = Chance(30) ? Uniform(-2, 2) : 0;
    if (has_tenants_ && Chance(60)) request->tenant = Chance(50) ? "a" : "b";
    request->expected_tokens = size + request->stop.max_tokens;
    if (Chance(20)) request->cache_salt = "tenant";
    if (Chance(60)) request->attention = Tidal(Uniform(1, 30));
    if (Chance(20)) request->attention.dense_below = Uniform(0, 30);
    if (Chance(30)) {
      request->sampling.temperature = 1;
      request->sampling.seed = Uniform(1, 1000);
    }
    if (Chance(15)) {
      request->sampling.num_prompt_logprobs = Uniform(0, 20);
      if (Chance(50)) request->stop.max_tokens = request->stop.min_tokens = 0;
    }
    if (Chance(5)) request->sampling.presence_penalty = 1;  // ignored by the executor
    if (Chance(constraint_percent_)) request->constraint = RandomConstraint();
    if (Chance(10)) request->deadline = now + absl::Milliseconds(Uniform(0, 60));
    return request;
  }

  std::shared_ptr<TokenConstraint> RandomConstraint() {
    FakeConstraint::Rule rule;
    rule.vocab_size = kVocabSize;
    rule.divisor = Uniform(1, 20);
    if (Chance(30)) rule.free_from = Uniform(0, 8);
    if (Chance(50)) rule.length = Uniform(1, 15);
    if (Chance(10)) rule.refused_at = Uniform(0, 8);
    return std::make_shared<FakeConstraint>(rule);
  }

  // Prompts share beginnings with others, so that the prefix cache has something to do.
  std::vector<TokenId> RandomPrompt(int32_t size) {
    std::vector<TokenId> prompt = Prompt(size, 100 * Uniform(1, 3));
    const int32_t shared = Chance(30) ? size : Uniform(0, size);
    for (int32_t i = shared; i < size; ++i) prompt[i] = Uniform(0, kVocabSize - 1);
    return prompt;
  }

  // It heard of every token once.
  void CheckConstraint(const FakeConstraint& constraint, const Harness::Result& result) {
    EXPECT_EQ(result.tokens, constraint.told());
    for (size_t place = 0; place < result.tokens.size(); ++place) {
      EXPECT_TRUE(constraint.Allows(static_cast<int32_t>(place), result.tokens[place]));
    }
    if (!constraint.complete() || constraint.has_refused()) return;
    ++num_complete_;
    EXPECT_EQ(result.finish->reason, FinishReason::kStop);
    EXPECT_EQ(result.finish->stop_token, result.tokens.back());
  }

  void CheckCounts(const FinishInfo& info) const {
    EXPECT_EQ(info.sparse_steps + info.dense_steps, std::max(0, info.output_tokens - 1));
    // Verified tokens after sparse ones are corrected with them.
    EXPECT_LE(info.corrected_tokens,
              info.sparse_steps + (draft_percent_ > 0 ? info.dense_steps : 0));
    EXPECT_LT(info.cached_tokens, info.prompt_tokens);
    EXPECT_GE(info.finish, info.arrival);
    if (info.output_tokens > 0) {
      EXPECT_GE(info.first_token, info.first_scheduled);
      EXPECT_GE(info.finish, info.first_token);
    }
  }

  std::mt19937_64 random_;
  int32_t arrival_percent_ = 0, draft_percent_ = 0, constraint_percent_ = 0;
  bool has_tenants_ = false, has_faults_ = false;
  const SchedulerConfig config_;
  SequenceId next_id_ = 1;
  SchedulerTotals totals_;
  int64_t num_ahead_ = 0, num_prompt_logprobs_ = 0;
  int64_t num_masked_ = 0, num_complete_ = 0, num_refused_ = 0;
};

constexpr int32_t kGroups = 6, kSeedsPerGroup = 20;

class SchedulerSimulationTest : public ::testing::TestWithParam<std::tuple<int32_t, bool>> {};

TEST_P(SchedulerSimulationTest, EndsCleanAndChangesNoOutput) {
  const auto [group, overlap] = GetParam();
  SchedulerTotals totals;
  int64_t num_requests = 0, num_ahead = 0, num_prompt_logprobs = 0;
  int64_t num_masked = 0, num_complete = 0, num_refused = 0;
  for (int32_t i = 0; i < kSeedsPerGroup && !HasFailure(); ++i) {
    const int32_t seed = group * kSeedsPerGroup + i;
    SCOPED_TRACE(seed);
    Simulation simulation(seed);
    simulation.Run(2500, overlap);
    totals.steps += simulation.totals().steps;
    totals.preemptions += simulation.totals().preemptions;
    totals.prefix_hits += simulation.totals().prefix_hits;
    totals.corrected_tokens += simulation.totals().corrected_tokens;
    totals.corrupt_sequences += simulation.totals().corrupt_sequences;
    totals.drafted += simulation.totals().drafted;
    totals.accepted += simulation.totals().accepted;
    num_requests += simulation.num_requests();
    num_ahead += simulation.num_ahead();
    num_prompt_logprobs += simulation.num_prompt_logprobs();
    num_masked += simulation.num_masked();
    num_complete += simulation.num_complete();
    num_refused += simulation.num_refused();
  }
  std::cout << num_requests << " requests, " << totals.steps << " steps, " << num_ahead
            << " of them ahead, " << totals.preemptions << " preemptions, " << totals.prefix_hits
            << " prefix hits, " << totals.corrected_tokens << " corrected tokens, "
            << totals.corrupt_sequences << " corrupt sequences, " << totals.drafted
            << " drafted tokens, " << totals.accepted << " of them accepted, "
            << num_prompt_logprobs << " log probabilities of prompts, " << num_masked
            << " masked rows, " << num_complete << " constraints complete, " << num_refused
            << " refusals\n";
  // The load is worth the name; all groups together run more than 100,000 steps.
  EXPECT_GE(totals.steps, 100000 / kGroups + 1);
  EXPECT_GE(totals.preemptions, 200);
  EXPECT_GE(totals.prefix_hits, 2000);
  EXPECT_GE(totals.corrected_tokens, 500);
  EXPECT_GE(totals.corrupt_sequences, 50);
  EXPECT_GE(totals.accepted, 1500);
  EXPECT_GE(totals.drafted - totals.accepted, 1500);
  EXPECT_GE(num_prompt_logprobs, 5000);
  EXPECT_GE(num_ahead, overlap ? 3000 : 0);
  EXPECT_GE(num_masked, 5000);
  EXPECT_GE(num_complete, 200);
  EXPECT_GE(num_refused, 20);
}

// With and without overlap every request gets the tokens it would get alone, so overlap changes
// none.
INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerSimulationTest,
                         ::testing::Combine(::testing::Range(0, kGroups), ::testing::Bool()));

}  // namespace
}  // namespace tidal
