// Recorded steps compute what steps run operation by operation compute.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/engine_harness.h"
#include "tests/support/forwarding_backend.h"
#include "tests/support/test_backend.h"

namespace tidal {
namespace {

constexpr int32_t kBlocksEach = 40;

EngineConfig Config() {
  EngineConfig config;
  config.model_path = "models/tidal-nano";
  config.kv_cache_bytes = 40 << 20;
  config.max_model_len = 2048;
  config.max_num_seqs = 8;
  config.max_num_batched_tokens = 512;
  return config;
}

class GraphReplayTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!MakeTestBackend()->supports_graphs()) GTEST_SKIP() << "this back end has no graphs";
    auto backend = std::make_unique<ForwardingBackend>(MakeTestBackend());
    backend_ = backend.get();
    auto engine = Engine::Create(Config(), std::move(backend));
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }

  TestSequence& Add(int32_t length, const AttentionPolicy& attention) {
    const auto index = static_cast<int32_t>(sequences_.size());
    std::vector<TokenId> prompt(length);
    for (int32_t i = 0; i < length; ++i) prompt[i] = 10 + (i * 37 + index * 11) % 4000;
    sequences_.emplace_back(index + 1, std::move(prompt),
                            ConsecutiveBlocks(index * kBlocksEach, kBlocksEach * 16, 16));
    sequences_.back().attention = attention;
    return sequences_.back();
  }

  // Runs the step operation by operation, recorded, and replayed: the outputs must be equal bit
  // for bit, and become the next tokens. Running a step again writes the same rows again.
  void Step(const std::vector<int32_t>& which) {
    StepInput input;
    for (int32_t index : which) {
      TestSequence& s = sequences_[index];
      const bool decode = s.size() > s.num_prompt_tokens;
      input.sequences.push_back(decode ? s.Decode() : s.Prefill(s.remaining()));
    }
    backend_->eager = true;
    const auto expected = engine_->Execute(input);
    ASSERT_TRUE(expected.ok()) << expected.status();
    backend_->eager = false;
    for (int run = 0; run < 2; ++run) {
      const auto replayed = engine_->Execute(input);
      ASSERT_TRUE(replayed.ok()) << replayed.status();
      for (size_t i = 0; i < which.size(); ++i) {
        const auto& a = replayed->sequences[i].sampled;
        const auto& b = expected->sequences[i].sampled;
        ASSERT_TRUE(a.size() == 1 && b.size() == 1);
        EXPECT_EQ(replayed->sequences[i].ran_sparse, expected->sequences[i].ran_sparse);
        EXPECT_EQ(a[0].id, b[0].id) << "sequence " << which[i] << ", run " << run;
        EXPECT_EQ(a[0].logprob, b[0].logprob) << "sequence " << which[i] << ", run " << run;
      }
    }
    for (size_t i = 0; i < which.size(); ++i) {
      TestSequence& s = sequences_[which[i]];
      s.num_computed_tokens += input.sequences[i].num_new_tokens;
      s.tokens.push_back(expected->sequences[i].sampled[0].id);
    }
  }

  ForwardingBackend* backend_ = nullptr;  // the engine owns it
  std::unique_ptr<Engine> engine_;
  std::vector<TestSequence> sequences_;
};

TEST_F(GraphReplayTest, ContextsGrowOverBlocksAndBudgets) {
  Add(60, {});
  Add(120, {AttentionMode::kTidal, 128, 0});  // becomes sparse on the way
  Add(500, {AttentionMode::kTidal, 64, 0});
  Add(300, {AttentionMode::kTidal, 300, 320});  // sparse above dense_below
  for (int32_t i = 0; i < 4; ++i) Step({i});
  for (int step = 0; step < 60; ++step) Step({0, 1, 2, 3});
}

TEST_F(GraphReplayTest, RowsJoinAndLeaveAndPromptsRunBetween) {
  for (int32_t i = 0; i < 7; ++i) {
    Add(50 + 60 * i,
        i % 2 == 0 ? AttentionPolicy{} : AttentionPolicy{AttentionMode::kTidal, 80, 0});
  }
  std::vector<int32_t> running;
  for (int32_t next = 0; next < 7; ++next) {
    std::vector<int32_t> mixed = running;
    mixed.push_back(next);
    Step(mixed);  // a prompt beside the decode rows: no graph
    running.push_back(next);
    for (int step = 0; step < 6; ++step) Step(running);
  }
  while (running.size() > 1) {
    running.erase(running.begin() + static_cast<int64_t>(running.size() / 2));
    for (int step = 0; step < 5; ++step) Step(running);
  }
}

}  // namespace
}  // namespace tidal
