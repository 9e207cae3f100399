// The scheduler with the real engine: requests receive the same tokens whether or not steps are
// launched ahead, on a model small enough for every test run.
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

class EngineOverlapTest : public ::testing::TestWithParam<int32_t> {
 protected:
  // The tokens of each request.
  std::map<SequenceId, std::vector<TokenId>> Run(const TinyModel& model, bool overlap) {
    EngineConfig config;
    config.model_path = model.path();
    config.kv_cache_bytes = 60 * 16 * (2 * 6 * 2 * 16 * 2);  // 60 blocks: some are preempted
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
    Scheduler scheduler(limits);

    std::map<SequenceId, std::vector<TokenId>> tokens;
    SequenceId next = 1;
    num_ahead_ = 0;
    const absl::Time now = absl::UnixEpoch();
    for (int32_t step = 0; next <= kRequests || !scheduler.empty() || scheduler.step_in_flight();
         ++step) {
      if (step % 7 == 0 && next <= kRequests) scheduler.Add(RequestOf(next++));
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
    return tokens;
  }

  int64_t num_ahead_ = 0;
};

TEST_P(EngineOverlapTest, ChangesNoToken) {
  // The engine runs the same rows in other batches.
  if (!BatchesAreBitwiseEqual()) GTEST_SKIP() << "on this device last bits depend on the batch";
  TinyModelSpec spec;
  spec.tidal_json = R"({"pattern":"DDSRSR"})";
  const TinyModel model(spec);
  const auto plain = Run(model, /*overlap=*/false);
  EXPECT_EQ(num_ahead_, 0);
  const auto overlapped = Run(model, /*overlap=*/true);
  EXPECT_GT(num_ahead_, 40);
  ASSERT_EQ(plain.size(), kRequests);
  EXPECT_EQ(overlapped, plain);
}

INSTANTIATE_TEST_SUITE_P(CorrectionPeriods, EngineOverlapTest, ::testing::Values(0, 6));

}  // namespace
}  // namespace tidal
