// The scheduler with the real engine: requests receive the same tokens whether or not steps are
// launched ahead or drafts are verified, on a model small enough for every test run.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "scheduler/scheduler.h"
#include "tests/scheduler/harness.h"
#include "tests/support/engine_harness.h"
#include "tests/support/test_backend.h"
#include "tests/support/tiny_model.h"

namespace tidal {
namespace {

constexpr int32_t kVocabSize = 101, kRequests = 12;

std::unique_ptr<Request> RequestOf(SequenceId id) {
  const auto n = static_cast<int32_t>(id);
  std::vector<TokenId> prompt(5 + 9 * n);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<TokenId>((i * n) % kVocabSize);
  auto request = MakeRequest(id, std::move(prompt), 30 + n);
  if (n % 2 == 0) {
    request->sampling.temperature = 1;
    request->sampling.seed = id;
  }
  if (n % 3 != 0) request->attention = Tidal(16);
  if (n % 3 == 2) request->attention.dense_below = 60;
  if (n % 4 == 1)
    request->stop = {.max_tokens = 60, .min_tokens = 4, .stop_token_ids = {7, 20, 31}};
  if (n == 6) request->sampling.frequency_penalty = 1;
  return request;
}

using Texts = std::map<SequenceId, std::vector<TokenId>>;

class EngineOverlapTest : public ::testing::TestWithParam<int32_t> {
 protected:
  // The tokens of each request. `guesses`: what the drafts of these requests are made of.
  Texts Run(const TinyModel& model, bool overlap, int32_t num_blocks, const Texts& guesses = {}) {
    EngineConfig config;
    config.model_path = model.path();
    config.kv_cache_bytes = int64_t{num_blocks} * 16 * (2 * 6 * 2 * 16 * 2);
    config.max_model_len = 256;
    config.max_num_seqs = 6;
    config.max_num_batched_tokens = 64;
    auto engine = LoadForTest(config);
    SchedulerConfig limits;
    limits.num_blocks = engine->info().num_blocks;
    limits.max_model_len = 256;
    limits.max_num_seqs = 6;
    limits.max_num_batched_tokens = 64;
    limits.correction_period = GetParam();
    limits.max_sampled_tokens = engine->info().max_sampled_tokens;
    Scheduler scheduler(limits);

    Texts tokens;
    SequenceId next = 1;
    num_ahead_ = 0;
    const absl::Time now = absl::UnixEpoch();
    for (int32_t step = 0; next <= kRequests || !scheduler.empty() || scheduler.step_in_flight();
         ++step) {
      if (step % 7 == 0 && next <= kRequests) scheduler.Add(RequestOf(next++));
      for (const auto& [id, text] : guesses) {
        GiveDraft(scheduler, id, text, step);
      }
      if (!scheduler.step_in_flight()) engine->Launch(scheduler.Schedule(now));
      if (overlap) {
        if (const auto ahead = scheduler.ScheduleAhead(now)) {
          engine->Launch(*ahead);
          ++num_ahead_;
        }
      }
      const auto output = engine->Collect();
      if (!output.ok()) {
        ADD_FAILURE() << output.status();
        break;
      }
      scheduler.Commit(*output, now);
      SchedulerEvents events = scheduler.TakeEvents();
      for (auto& event : events.tokens) event.stream->Push(std::move(event.token));
      for (auto& event : events.finishes) {
        for (const SampledToken& token : event.request->stream->TakeAll().tokens) {
          tokens[event.request->id].push_back(token.id);
        }
      }
    }
    totals_ = scheduler.totals();
    return tokens;
  }

  // Up to seven tokens, of which some are right; one at least.
  static void GiveDraft(Scheduler& scheduler, SequenceId id, const std::vector<TokenId>& text,
                        int32_t step) {
    for (const SequenceSnapshot& running : scheduler.Snapshot().running) {
      const auto from = static_cast<size_t>(running.num_tokens - running.num_prompt_tokens);
      if (running.id != id) continue;
      std::vector<TokenId> draft;
      for (size_t i = from; i < text.size() && draft.size() < step % 8; ++i) {
        draft.push_back(text[i]);
      }
      if (step % 3 == 0 && draft.size() > 2) draft[2] = (draft[2] + 1) % kVocabSize;
      if (draft.empty()) draft.push_back(step % kVocabSize);
      scheduler.SetDraft(id, draft);
    }
  }

  int64_t num_ahead_ = 0;
  SchedulerTotals totals_;
};

TEST_P(EngineOverlapTest, ChangesNoToken) {
  // The engine runs the same rows in other batches.
  if (!BatchesAreBitwiseEqual()) GTEST_SKIP() << "on this device last bits depend on the batch";
  TinyModelSpec spec;
  spec.tidal_json = R"({"pattern":"DDSRSR"})";
  const TinyModel model(spec);
  constexpr int32_t kFewBlocks = 60;  // some are preempted
  const auto plain = Run(model, /*overlap=*/false, kFewBlocks);
  EXPECT_EQ(num_ahead_, 0);
  const auto overlapped = Run(model, /*overlap=*/true, kFewBlocks);
  EXPECT_GT(num_ahead_, 40);
  ASSERT_EQ(plain.size(), kRequests);
  EXPECT_EQ(overlapped, plain);
}

TEST_P(EngineOverlapTest, DraftsChangeNoToken) {
  if (!BatchesAreBitwiseEqual()) GTEST_SKIP() << "on this device last bits depend on the batch";
  TinyModelSpec spec;
  spec.tidal_json = R"({"pattern":"DDSRSR"})";
  const TinyModel model(spec);
  // Every token after the first is a verify row's in both runs, and there is room for all drafts:
  // decode rows round differently. The last token of a request cannot have one.
  constexpr int32_t kManyBlocks = 200;
  Texts plain = Run(model, /*overlap=*/false, kManyBlocks, {{3, {}}, {6, {}}, {9, {}}, {12, {}}});
  const int64_t steps = totals_.steps;
  std::erase_if(plain, [](const auto& text) { return text.first % 3 != 0; });
  const Texts verified = Run(model, /*overlap=*/false, kManyBlocks, plain);
  for (auto& [id, text] : plain) {
    ASSERT_EQ(verified.at(id).size(), text.size());
    EXPECT_TRUE(std::equal(text.begin(), text.end() - 1, verified.at(id).begin())) << id;
  }
  EXPECT_LT(totals_.steps, steps);
  EXPECT_GT(totals_.accepted, 50);
  EXPECT_GT(totals_.drafted - totals_.accepted, 20);
}

INSTANTIATE_TEST_SUITE_P(CorrectionPeriods, EngineOverlapTest, ::testing::Values(0, 6));

}  // namespace
}  // namespace tidal
