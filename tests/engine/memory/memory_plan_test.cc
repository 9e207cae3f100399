#include "engine/memory/memory_plan.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;

// 2 (K, V) * 3 layers * 2 heads * 16 * 2 bytes = 384 bytes a token, 6,144 a block of 16.
ModelConfig Model() {
  ModelConfig model;
  model.num_layers = 3;
  model.num_heads = 4;
  model.num_kv_heads = 2;
  model.head_dim = 16;
  model.max_position_embeddings = 1000;
  return model;
}

TEST(MemoryPlanTest, BlocksComeFromTheByteBudget) {
  EngineConfig limits;
  limits.kv_cache_bytes = 6144 * 70 + 6143;
  const auto plan = PlanMemory(Model(), limits);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->kv_bytes_per_token, 384);
  EXPECT_EQ(plan->num_blocks, 70);
  EXPECT_EQ(plan->max_model_len, 1000);
  EXPECT_EQ(plan->max_blocks_per_sequence, 63);
  EXPECT_EQ(plan->max_token_budget, 1000);
}

TEST(MemoryPlanTest, TooSmallABudgetSaysHowManyBytesAreMissing) {
  EngineConfig limits;
  limits.max_model_len = 33;
  limits.kv_cache_bytes = 6144 * 3;
  EXPECT_TRUE(PlanMemory(Model(), limits).ok());
  limits.kv_cache_bytes -= 1;
  const absl::Status status = PlanMemory(Model(), limits).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(),
            "kv_cache_bytes: must be at least 18432 for one sequence of max_model_len 33 tokens, "
            "got 18431: 1 bytes are missing");
}

TEST(MemoryPlanTest, SlotsFitInt32) {
  ModelConfig model = Model();
  model.num_layers = 1;
  model.num_kv_heads = 1;
  EngineConfig limits;
  limits.kv_cache_bytes = int64_t{1} << 45;
  const auto plan = PlanMemory(model, limits);
  ASSERT_TRUE(plan.ok());
  EXPECT_LE(int64_t{plan->num_blocks} * plan->block_size, std::numeric_limits<int32_t>::max());
}

TEST(MemoryPlanTest, LimitsBoundEachOther) {
  EngineConfig limits;
  limits.max_num_seqs = 100;
  limits.max_num_batched_tokens = 10;
  limits.max_model_len = 64;
  limits.max_token_budget = 70;
  const auto plan = PlanMemory(Model(), limits);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->max_num_seqs, 10);
  EXPECT_EQ(plan->max_token_budget, 64);
}

TEST(MemoryPlanTest, BadLimitsNameTheField) {
  const auto error = [](auto change) {
    EngineConfig limits;
    change(limits);
    const auto plan = PlanMemory(Model(), limits);
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(plan.status().message());
  };
  EXPECT_EQ(error([](EngineConfig& c) { c.block_size = 24; }),
            "block_size: must be 16, 32 or 64, got 24");
  EXPECT_EQ(error([](EngineConfig& c) { c.max_model_len = 1001; }),
            "max_model_len: must be in [0, 1000], got 1001");
  EXPECT_THAT(error([](EngineConfig& c) { c.max_model_len = -1; }), HasSubstr("max_model_len"));
  EXPECT_THAT(error([](EngineConfig& c) { c.max_num_seqs = 0; }), HasSubstr("max_num_seqs"));
  EXPECT_THAT(error([](EngineConfig& c) { c.max_num_batched_tokens = 0; }),
              HasSubstr("max_num_batched_tokens"));
  EXPECT_THAT(error([](EngineConfig& c) { c.max_token_budget = -2; }),
              HasSubstr("max_token_budget"));
  EXPECT_THAT(error([](EngineConfig& c) { c.kv_cache_bytes = -1; }), HasSubstr("kv_cache_bytes"));
  EXPECT_THAT(error([](EngineConfig& c) {
                c.kv_cache_bytes = 0;
                c.memory_utilization = 0;
              }),
              HasSubstr("gpu_memory_utilization: must be in (0, 1], got 0"));
}

TEST(MemoryPlanTest, TheKvCacheMayTakeWhatIsLeft) {
  EngineConfig limits;
  limits.kv_cache_bytes = 0;
  MemoryPlan plan = PlanMemory(Model(), limits).value();
  EXPECT_EQ(plan.num_blocks, 0);
  const int64_t block_bytes = plan.kv_bytes_per_token * plan.block_size;
  ASSERT_TRUE(PlanKvCache("KV cache", block_bytes * 1000 + 7, &plan).ok());
  EXPECT_EQ(plan.num_blocks, 1000);
  const absl::Status status = PlanKvCache("KV cache", block_bytes, &plan);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("KV cache: must be at least"));
}

TEST(MemoryPlanTest, ScoresCoverTheCacheAndOneLongSequence) {
  MemoryPlan plan = {};
  plan.max_model_len = 1000;
  plan.max_decode_rows = 4;
  EXPECT_EQ(MaxScoredTokens(plan, 10), 1000);
  EXPECT_EQ(MaxScoredTokens(plan, 2500), 2500);
  EXPECT_EQ(MaxScoredTokens(plan, 1 << 20), 4000);
}

TEST(MemoryPlanTest, MemoryUseAddsUp) {
  constexpr int64_t kGiB = int64_t{1} << 30;
  MemoryUse use;
  use.total = 140 * kGiB;
  use.others = kGiB / 2;
  use.weights = 15 * kGiB;
  use.scratch = 2 * kGiB;
  use.graphs = kGiB;
  use.kv_cache = 107 * kGiB;
  EXPECT_EQ(use.ToString(),
            "140.0 GiB: weights 15.0, scratch 2.0, graphs 1.0, KV cache 107.0, others 0.5, "
            "free 14.5");
}

}  // namespace
}  // namespace tidal
