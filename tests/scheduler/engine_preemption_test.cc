// The scheduler with the real engine and tidal-nano, in a cache far too small for what runs: what a
// preemption may change, and by how much. docs/sparse_attention.md, "Exactness", has the promise.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "scheduler/scheduler.h"
#include "tests/scheduler/harness.h"
#include "tests/support/engine_harness.h"
#include "tests/support/test_backend.h"

namespace tidal {
namespace {

constexpr int32_t kRequests = 24, kOutputTokens = 150, kMaxModelLen = 256;

// What tokens that were decoded and then run again as a chunk may change in a log probability.
constexpr float kRecomputed = 0.15f;
// The same where batches round differently and rows are sparse: what falls out of a small set at a
// near tie weighs more than any rounding.
constexpr float kOtherSets = 1.0f;

struct Output {
  std::vector<SampledToken> tokens;
  int32_t preemptions = 0;
};

// Greedy; tokens of the middle of the vocabulary, each request its own.
std::unique_ptr<Request> RequestOf(SequenceId id, const AttentionPolicy& attention) {
  std::vector<TokenId> prompt(24 + id);
  for (size_t i = 0; i < prompt.size(); ++i) {
    prompt[i] = static_cast<TokenId>(300 + (i * i * 31 + id * 977) % 3000);
  }
  auto request = MakeRequest(id, std::move(prompt), kOutputTokens);
  request->attention = attention;
  return request;
}

class EnginePreemptionTest : public ::testing::Test {
 protected:
  EnginePreemptionTest() {
    EngineConfig config;
    config.model_path = "models/tidal-nano";
    config.max_model_len = kMaxModelLen;
    config.max_num_seqs = kRequests;
    config.max_num_batched_tokens = 256;
    config.kv_cache_bytes = int64_t{160} << 20;
    engine_ = LoadForTest(config);
  }

  // All requests at once, in a cache of so many blocks.
  std::map<SequenceId, Output> Run(int32_t num_blocks, const AttentionPolicy& attention) {
    SchedulerConfig limits;
    limits.num_blocks = num_blocks;
    limits.max_model_len = kMaxModelLen;
    limits.max_num_seqs = kRequests;
    limits.max_num_batched_tokens = 256;
    limits.enable_prefix_caching = false;
    Scheduler scheduler(limits);
    const absl::Time now = absl::UnixEpoch();
    for (SequenceId id = 1; id <= kRequests; ++id) scheduler.Add(RequestOf(id, attention));
    std::map<SequenceId, Output> outputs;
    while (!scheduler.empty()) {
      const auto output = engine_->Execute(scheduler.Schedule(now));
      if (!output.ok()) {
        ADD_FAILURE() << output.status();
        break;
      }
      scheduler.Commit(*output, now);
      SchedulerEvents events = scheduler.TakeEvents();
      for (auto& event : events.tokens) event.stream->Push(std::move(event.token));
      for (auto& event : events.finishes) {
        Output& ended = outputs[event.request->id];
        ended.tokens = event.request->stream->TakeAll().tokens;
        ended.preemptions = event.info.preemptions;
      }
    }
    return outputs;
  }

  // Compares with what comes where there is room for all, token by token as far as they are the
  // same. `bound`: of the difference of a log probability, of requests that were preempted.
  void ExpectPreemptionsChange(const AttentionPolicy& attention, float bound) {
    const auto roomy = Run(engine_->info().num_blocks, attention);
    const auto crowded = Run(/*num_blocks=*/40, attention);
    ASSERT_EQ(roomy.size(), kRequests);
    ASSERT_EQ(crowded.size(), kRequests);
    const float in_other_batch = attention.mode == AttentionMode::kTidal ? kOtherSets : kRecomputed;
    int32_t preempted = 0, with_other_bits = 0, with_other_tokens = 0;
    float largest = 0;
    for (const auto& [id, got] : crowded) {
      const Output& want = roomy.at(id);
      ASSERT_EQ(want.preemptions, 0);
      ASSERT_EQ(got.tokens.size(), want.tokens.size());
      float difference = 0;
      bool same_tokens = true;
      for (size_t i = 0; i < want.tokens.size() && same_tokens; ++i) {
        const float change = std::abs(want.tokens[i].logprob - got.tokens[i].logprob);
        difference = std::max(difference, change);
        // Where they part both had a near tie, so that the bound holds there too.
        same_tokens = want.tokens[i].id == got.tokens[i].id;
      }
      if (got.preemptions > 0 || !BatchesAreBitwiseEqual()) {
        EXPECT_LE(difference, BatchesAreBitwiseEqual() ? bound : in_other_batch)
            << "request " << id;
      } else {
        EXPECT_EQ(difference, 0) << "request " << id << " was not preempted";
      }
      EXPECT_TRUE(same_tokens || difference > 0) << "request " << id;
      preempted += got.preemptions > 0;
      with_other_bits += difference > 0;
      with_other_tokens += !same_tokens;
      largest = std::max(largest, difference);
    }
    std::cout << preempted << " of " << kRequests << " requests preempted, " << with_other_bits
              << " with other log probabilities, by " << largest << " at most, "
              << with_other_tokens << " with other tokens\n";
    EXPECT_GE(preempted, kRequests / 3);
  }

  std::unique_ptr<ModelRunner> engine_;
};

TEST_F(EnginePreemptionTest, TokensComeBackAsAChunkButForRounding) {
  ExpectPreemptionsChange({}, kRecomputed);
}

// Every decode row is sparse, and runs again as one.
TEST_F(EnginePreemptionTest, SparseRowsComeBackAsTheyWere) {
  ExpectPreemptionsChange(Tidal(16), 0);
}

// The first decode rows read everything and come back as a chunk; sparse ones follow.
TEST_F(EnginePreemptionTest, SparseRowsAfterDenseOnesComeBackButForRounding) {
  ExpectPreemptionsChange(Tidal(100), kRecomputed);
}

}  // namespace
}  // namespace tidal
