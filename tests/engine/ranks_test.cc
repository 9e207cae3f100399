// A model on several ranks gives what it gives on one: its logits within rounding, the same bits on
// every rank and (on a CPU) in every run, and the same sets of tokens.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/shard.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/support/engine_harness.h"
#include "tests/support/test_backend.h"
#include "tests/support/test_ranks.h"
#include "tests/support/tiny_model.h"

namespace tidal {
namespace {

constexpr int32_t kBlockSize = 16;
constexpr auto kShared = SelectionGranularity::kShared;
constexpr auto kKvHead = SelectionGranularity::kKvHead;
constexpr auto kSum = SelectionScore::kSoftmaxSum;
constexpr auto kMax = SelectionScore::kMaxLogit;

// A prompt in chunks, then tokens decoded one by one, sparsely where the plan can.
struct Text {
  std::vector<TokenId> tokens;
  int32_t prompt_tokens, chunk;
  AttentionPolicy attention;
};

EngineConfig ConfigOf(const std::string& folder, const Text& text) {
  EngineConfig config;
  config.model_path = folder;
  config.kv_cache_bytes = 40 << 20;
  config.max_model_len = static_cast<int32_t>(text.tokens.size());
  config.max_num_seqs = 4;
  config.max_num_batched_tokens = 64;
  config.block_size = kBlockSize;
  return config;
}

// Of the prompt's last token and each one after it.
std::vector<StepTrace> Run(ModelRunner& runner, const Text& text) {
  TestSequence sequence(1, {text.tokens.begin(), text.tokens.begin() + text.prompt_tokens},
                        ConsecutiveBlocks(3, static_cast<int32_t>(text.tokens.size()), kBlockSize));
  sequence.attention = text.attention;
  std::vector<StepTrace> traces(1);
  traces[0].logits = RunPrefill(runner, sequence, text.chunk);
  for (size_t i = text.prompt_tokens; i < text.tokens.size(); ++i) {
    traces.push_back(RunDecode(runner, sequence, text.tokens[i]));
  }
  return traces;
}

// As each of `size` ranks computes it.
std::vector<std::vector<StepTrace>> RunOnRanks(const std::string& folder,
                                               const SparseAttentionConfig& attention,
                                               const Text& text, int size) {
  TestRanks ranks(ConfigOf(folder, text), attention, size);
  std::vector<std::vector<StepTrace>> traces(size);
  OnEachRank(size, [&](int rank) { traces[rank] = Run(ranks.runner(rank), text); });
  return traces;
}

std::vector<StepTrace> RunAlone(const std::string& folder, const SparseAttentionConfig& attention,
                                const Text& text, std::unique_ptr<Backend> backend = nullptr) {
  const auto model = ReadModelConfig(folder);
  auto runner = ModelRunner::Load(ConfigOf(folder, text), *model, {attention, "test"},
                                  backend ? std::move(backend) : MakeTestBackend());
  EXPECT_TRUE(runner.ok()) << runner.status();
  return Run(**runner, text);
}

std::vector<TokenId> SomeTokens(int32_t count, int32_t vocab) {
  std::vector<TokenId> tokens(count);
  uint32_t state = 99;
  for (TokenId& token : tokens) {
    state = state * 1664525u + 1013904223u;
    token = static_cast<TokenId>(state >> 16) % vocab;
  }
  return tokens;
}

// A prompt of tests/golden, and the reference's greedy tokens after it.
Text GoldenText(size_t number) {
  std::ifstream stream("tests/golden/golden.json");
  const nlohmann::json golden = nlohmann::json::parse(stream, nullptr, false);
  const auto prompt = golden.at(number).at("ids").get<std::vector<TokenId>>();
  Text text = {prompt, static_cast<int32_t>(prompt.size()), 64, {}};
  for (const TokenId token : golden.at(number).at("greedy_ids")) text.tokens.push_back(token);
  return text;
}

double LargestOf(const std::vector<float>& values) {
  double largest = 0;
  for (float value : values) largest = std::max(largest, std::abs(double{value}));
  return largest;
}

double Difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    EXPECT_FALSE(std::isnan(a[i]));
    largest = std::max(largest, std::abs(double{a[i]} - b[i]));
  }
  return largest;
}

// Mean over the vocabulary.
double SquaredDifference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double sum = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) sum += std::pow(double{a[i]} - b[i], 2);
  return sum / static_cast<double>(a.size());
}

// Logits, and sets where they are one for all heads: to the bit.
void ExpectEqualRanks(const std::vector<std::vector<StepTrace>>& ranks, bool shared_sets) {
  for (size_t rank = 1; rank < ranks.size(); ++rank) {
    ASSERT_EQ(ranks[rank].size(), ranks[0].size());
    for (size_t step = 0; step < ranks[0].size(); ++step) {
      ASSERT_EQ(ranks[rank][step].logits, ranks[0][step].logits) << rank << ", step " << step;
      if (!shared_sets) continue;
      for (const auto& [layer, sets] : ranks[0][step].selected) {
        const auto& others = ranks[rank][step].selected.at(layer);
        ASSERT_EQ(others.at(0).positions, sets.at(0).positions) << rank << ", step " << step;
        ASSERT_EQ(others.at(0).slots, sets.at(0).slots) << rank << ", step " << step;
      }
    }
  }
}

class ArchitectureRanksTest : public ::testing::TestWithParam<std::tuple<const char*, int>> {};

// The matrix products round what they take to bf16: sums that differ in their last bit may fall on
// either side. Seen: 0.6 % of the largest logit, 1.1 % on a GPU.
TEST_P(ArchitectureRanksTest, LogitsAreThoseOfOneRank) {
  const auto& [name, size] = GetParam();
  const std::string folder = std::string("tests/engine/architectures/") + name;
  const Text text = {SomeTokens(150, 48), 130, 47, {}};
  SparseAttentionConfig attention;
  attention.pattern = std::string(ReadModelConfig(folder)->num_layers, 'D');
  const auto alone = RunAlone(folder, attention, text);
  const auto ranks = RunOnRanks(folder, attention, text, size);
  ExpectEqualRanks(ranks, false);
  double largest = 0;
  for (size_t step = 0; step < alone.size(); ++step) {
    largest = std::max(largest, Difference(ranks[0][step].logits, alone[step].logits) /
                                    LargestOf(alone[step].logits));
  }
  EXPECT_LE(largest, 0.02);
  RecordProperty("largest", std::to_string(largest));
  // A GPU's matrix products are chosen by timing, once a run.
  if (!BatchesAreBitwiseEqual()) return;
  const auto again = RunOnRanks(folder, attention, text, size);
  for (size_t step = 0; step < alone.size(); ++step) {
    ASSERT_EQ(again[0][step].logits, ranks[0][step].logits) << "another run, step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Folders, ArchitectureRanksTest,
                         ::testing::Combine(::testing::Values("llama2_mha", "llama3_scaled",
                                                              "llama_biases", "mistral_window",
                                                              "qwen2", "qwen3"),
                                            ::testing::Values(2, 4)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::to_string(std::get<1>(info.param));
                         });

struct Selection {
  const char* name;
  int32_t num_heads, num_kv_heads;
  const char* pattern;
  SelectionGranularity granularity;
  SelectionScore score;
};

class SelectionRanksTest : public ::testing::TestWithParam<std::tuple<Selection, int>> {};

// Forced tokens apart, sets differ where scores are as near to each other as their sums' rounding.
// Seen: 0.3 % of the members, 1.4 % on a GPU.
TEST_P(SelectionRanksTest, SetsAreThoseOfOneRank) {
  const auto& [selection, size] = GetParam();
  TinyModelSpec spec;
  spec.num_heads = selection.num_heads;
  spec.num_kv_heads = selection.num_kv_heads;
  spec.hidden_size = 64;
  spec.intermediate_size = 96;
  const TinyModel model(spec);
  const Text text = {SomeTokens(200, 101), 150, 64, {AttentionMode::kTidal, 24, 0}};
  SparseAttentionConfig attention;
  attention.pattern = selection.pattern;
  attention.granularity = selection.granularity;
  attention.score = selection.score;
  const auto alone = RunAlone(model.path(), attention, text);
  const auto ranks = RunOnRanks(model.path(), attention, text, size);
  ExpectEqualRanks(ranks, selection.granularity == kShared);

  const int32_t replicas = std::max(1, size / selection.num_kv_heads);
  int members = 0, others = 0;
  for (size_t step = 1; step < alone.size(); ++step) {
    ASSERT_TRUE(ranks[0][step].ran_sparse && alone[step].ran_sparse);
    for (const auto& [layer, sets] : alone[step].selected) {
      for (size_t set = 0; set < sets.size(); ++set) {
        for (int rank = 0; rank < size; ++rank) {
          const auto& mine = ranks[rank][step].selected.at(layer);
          // Which of this rank's sets it is, if any.
          const size_t first = selection.granularity == kShared
                                   ? 0
                                   : static_cast<size_t>(rank / replicas) * mine.size();
          if (set < first || set >= first + mine.size()) continue;
          std::vector<int32_t> differing;
          std::set_difference(sets[set].positions.begin(), sets[set].positions.end(),
                              mine[set - first].positions.begin(),
                              mine[set - first].positions.end(), std::back_inserter(differing));
          ASSERT_EQ(mine[set - first].positions.size(), sets[set].positions.size());
          members += static_cast<int>(sets[set].positions.size());
          others += static_cast<int>(differing.size());
        }
      }
    }
  }
  EXPECT_GT(members, 1000);
  EXPECT_LE(others, members / (BatchesAreBitwiseEqual() ? 50 : 25)) << "of " << members;
  RecordProperty("differing", std::to_string(others) + " of " + std::to_string(members));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, SelectionRanksTest,
    ::testing::Combine(
        ::testing::Values(Selection{"GqaShared", 8, 4, "DDSRSR", kShared, kSum},
                          Selection{"GqaKvHead", 8, 4, "DSRRSR", kKvHead, kSum},
                          Selection{"FewKvHeadsShared", 8, 2, "DDSRSR", kShared, kSum},
                          Selection{"FewKvHeadsKvHead", 8, 2, "DSRRSR", kKvHead, kSum},
                          Selection{"MqaMaximum", 4, 1, "SRRRRR", kShared, kMax},
                          Selection{"MqaKvHeadMaximum", 4, 1, "SRRRRR", kKvHead, kMax},
                          Selection{"Anchor", 4, 2, "DARRAR", kShared, kSum}),
        ::testing::Values(2, 4)),
    [](const auto& info) {
      return std::string(std::get<0>(info.param).name) + "_" +
             std::to_string(std::get<1>(info.param));
    });

// Greedy tokens, and logits as near to those of products in float as one rank's are.
class TidalNanoRanksTest : public ::testing::TestWithParam<std::tuple<const char*, int>> {};

TEST_P(TidalNanoRanksTest, GreedyTokensAreThoseOfOneRank) {
  const auto& [plan, size] = GetParam();
  const bool sparse = std::string(plan) != "dense";
  const std::string folder = "models/tidal-nano";
  const auto whole = ReadModelConfig(folder);
  ASSERT_TRUE(whole.ok());
  const auto resolved = ResolveAttention(plan, folder, *whole);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  Text text = GoldenText(4);
  if (sparse) text.attention = {AttentionMode::kTidal, 256, 0};
  const auto alone = RunAlone(folder, resolved->config, text);
  const auto exact =
      RunAlone(folder, resolved->config, text, MakeCpuBackend({.isa = CpuIsa::kPortable}));
  const auto ranks = RunOnRanks(folder, resolved->config, text, size);
  ExpectEqualRanks(ranks, resolved->config.granularity == kShared);
  size_t ties = 0;
  const size_t steps = alone.size();
  double widest_tie = 0, error_of_one = 0, error_of_many = 0, difference = 0;
  for (size_t step = 0; step < steps; ++step) {
    const std::vector<float>&one = alone[step].logits, &many = ranks[0][step].logits;
    ASSERT_EQ(alone[step].ran_sparse, sparse && step > 0);
    ASSERT_EQ(ranks[0][step].ran_sparse, sparse && step > 0);
    error_of_one += SquaredDifference(one, exact[step].logits);
    error_of_many += SquaredDifference(many, exact[step].logits);
    difference += SquaredDifference(many, one);
    if (ArgMax(one) == ArgMax(many)) continue;
    ++ties;
    widest_tie = std::max<double>(widest_tie, one[ArgMax(one)] - one[ArgMax(many)]);
  }
  EXPECT_LE(std::sqrt(error_of_many), 2 * std::sqrt(error_of_one));
  EXPECT_LE(std::sqrt(difference), 2 * std::sqrt(error_of_one));
  EXPECT_LE(widest_tie, 0.1);
  EXPECT_LE(ties, 1u);
  RecordProperty("errors",
                 absl::StrCat(std::sqrt(error_of_one / static_cast<double>(steps)), " of one, ",
                              std::sqrt(error_of_many / static_cast<double>(steps)), " of many, ",
                              std::sqrt(difference / static_cast<double>(steps)), " between"));
  RecordProperty("ties", std::to_string(ties) + ", " + std::to_string(widest_tie));
}

INSTANTIATE_TEST_SUITE_P(Plans, TidalNanoRanksTest,
                         ::testing::Combine(::testing::Values("dense", "default"),
                                            ::testing::Values(2, 4)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::to_string(std::get<1>(info.param));
                         });

TEST(RanksTest, WhatCannotBeSharedOutIsRefused) {
  TinyModelSpec spec;
  spec.num_heads = 6;
  spec.num_kv_heads = 2;
  spec.intermediate_size = 96;
  const TinyModel model(spec);
  const auto whole = ReadModelConfig(model.path());
  ASSERT_TRUE(whole.ok());
  EXPECT_TRUE(ShardOf(*whole, {1, 2}).ok());
  EXPECT_TRUE(ShardOf(*whole, {5, 6}).ok()) << "3 ranks a KV head";
  const auto status = ShardOf(*whole, {0, 4}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "tensor_parallel_size: must be one of 1, 2, 6 for a model of 6 attention heads, 2 KV "
            "heads and an MLP of 96 (each part of it a multiple of 4), got 4");
}

}  // namespace
}  // namespace tidal
