// Every form of every architecture against the logits that transformers computes in float32
// (architectures/, made by make_architecture_fixtures.py): a prompt and 32 decode steps. Contexts
// are long enough that scaled positions and sliding windows matter.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/checkpoint/safetensors.h"
#include "engine/json/json_file.h"
#include "engine/json/text_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/engine_harness.h"
#include "tests/support/test_backend.h"

namespace tidal {
namespace {

constexpr int32_t kPromptTokens = 160;
constexpr int32_t kSparseSteps = 8;
constexpr int32_t kBlockSize = 16;

struct Expected {
  std::vector<TokenId> tokens;  // the prompt's, then those to decode
  std::vector<float> logits;    // [decode tokens + 1, vocab], from the prompt's last token on
  // See make_architecture_fixtures.py. What bf16 explains is what transformers' own bf16 run shows;
  // we round less than that run (the residual stream and sums are float), so ours must be nearer.
  float largest_bf16_error = 0, mean_bf16_error = 0;
  float matters = 0;
};

template <typename T>
std::vector<T> Elements(const TensorView& tensor) {
  std::vector<T> elements(tensor.bytes.size() / sizeof(T));
  std::memcpy(elements.data(), tensor.bytes.data(), tensor.bytes.size());
  return elements;
}

Expected ReadExpected(const std::string& folder) {
  const auto file = ReadTextFile(folder + "/expected.safetensors", 1 << 20);
  EXPECT_TRUE(file.ok()) << file.status();
  const auto* bytes = reinterpret_cast<const uint8_t*>(file->data());
  const auto tensors = ParseSafetensors({bytes, file->size()}, folder);
  EXPECT_TRUE(tensors.ok()) << tensors.status();
  const auto bf16_error = Elements<float>(tensors->at("bf16_error"));
  return {Elements<TokenId>(tensors->at("tokens")), Elements<float>(tensors->at("logits")),
          bf16_error.at(0), bf16_error.at(1), Elements<float>(tensors->at("matters")).at(0)};
}

class ArchitectureTest : public ::testing::TestWithParam<const char*> {
 protected:
  // Null after a failure.
  std::unique_ptr<ModelRunner> Load(int32_t max_model_len, const std::string& pattern) {
    EngineConfig config;
    config.model_path = folder_;
    config.kv_cache_bytes = 4 << 20;
    config.max_model_len = max_model_len;
    config.max_num_seqs = 4;
    config.max_num_batched_tokens = 64;
    config.block_size = kBlockSize;
    SparseAttentionConfig attention;
    attention.pattern = pattern;
    auto model = ReadModelConfig(folder_);
    EXPECT_TRUE(model.ok()) << model.status();
    if (!model.ok()) return nullptr;
    auto runner =
        ModelRunner::Load(config, *std::move(model), {attention, "test"}, MakeTestBackend());
    EXPECT_TRUE(runner.ok()) << runner.status();
    return runner.ok() ? *std::move(runner) : nullptr;
  }

  std::unique_ptr<ModelRunner> LoadDense() {
    return Load(static_cast<int32_t>(expected_.tokens.size()), Repeated('D'));
  }

  std::string Repeated(char role) const {
    const auto model = ReadModelConfig(folder_);
    EXPECT_TRUE(model.ok()) << model.status();
    return std::string(model->num_layers, role);
  }

  TestSequence Prompt() const {
    return {1,
            {expected_.tokens.begin(), expected_.tokens.begin() + kPromptTokens},
            ConsecutiveBlocks(3, static_cast<int32_t>(expected_.tokens.size()), kBlockSize)};
  }

  // The prompt in chunks of `chunk`, then the other tokens one by one: as Expected::logits.
  std::vector<float> Run(ModelRunner& runner, int32_t chunk) const {
    TestSequence sequence = Prompt();
    std::vector<float> logits = RunPrefill(runner, sequence, chunk);
    for (size_t i = kPromptTokens; i < expected_.tokens.size(); ++i) {
      const StepTrace trace = RunDecode(runner, sequence, expected_.tokens[i]);
      logits.insert(logits.end(), trace.logits.begin(), trace.logits.end());
    }
    return logits;
  }

  const std::string folder_ = std::string("tests/engine/architectures/") + GetParam();
  const Expected expected_ = ReadExpected(folder_);
};

TEST_P(ArchitectureTest, LogitsEqualThoseOfTransformers) {
  const auto runner = LoadDense();
  ASSERT_NE(runner, nullptr);
  const std::vector<float> logits = Run(*runner, 64);
  ASSERT_EQ(logits.size(), expected_.logits.size());
  double largest = 0, squares = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double error = std::abs(double{logits[i]} - expected_.logits[i]);
    ASSERT_FALSE(std::isnan(error)) << i;
    largest = std::max(largest, error);
    squares += error * error;
  }
  const double mean = std::sqrt(squares / static_cast<double>(logits.size()));
  EXPECT_LE(largest, expected_.largest_bf16_error);
  EXPECT_LE(mean, expected_.mean_bf16_error);
  // Without what this folder is there to test, the logits are far outside.
  EXPECT_GE(expected_.matters, 5 * expected_.largest_bf16_error);
  RecordProperty("largest", std::to_string(largest));
  RecordProperty("mean", std::to_string(mean));
}

TEST_P(ArchitectureTest, ChunksDoNotMatter) {
  const auto runner = LoadDense();
  ASSERT_NE(runner, nullptr);
  const std::vector<float> whole = Run(*runner, 64), parts = Run(*runner, 23);
  ASSERT_EQ(whole.size(), parts.size());
  if (BatchesAreBitwiseEqual()) {
    EXPECT_EQ(whole, parts);
    return;
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    ASSERT_NEAR(whole[i], parts[i], expected_.largest_bf16_error) << i;
  }
}

// All but the least important tokens selected: nearly the dense result, from other kernels. Layers
// with a window neither select nor reuse.
TEST_P(ArchitectureTest, SparseStepsAreNearTheDenseOnes) {
  std::string pattern = Repeated('R');
  pattern[0] = 'S';
  const auto runner = Load(static_cast<int32_t>(expected_.tokens.size()), pattern);
  ASSERT_NE(runner, nullptr);
  TestSequence sequence = Prompt();
  RunPrefill(*runner, sequence, 64);
  const size_t vocab = runner->info().vocab_size;
  double squares = 0;
  for (int32_t i = kPromptTokens; i < kPromptTokens + kSparseSteps; ++i) {
    sequence.attention = {AttentionMode::kTidal, i, 0};  // of i + 1 tokens
    const StepTrace trace = RunDecode(*runner, sequence, expected_.tokens[i]);
    EXPECT_EQ(trace.ran_sparse, runner->info().tidal_available);
    const float* dense = &expected_.logits[(i + 1 - kPromptTokens) * vocab];
    for (size_t j = 0; j < vocab; ++j) squares += std::pow(trace.logits[j] - dense[j], 2);
  }
  EXPECT_LE(std::sqrt(squares / static_cast<double>(vocab) / kSparseSteps),
            1.5 * expected_.mean_bf16_error);
}

// On every back end, with sparse layers as the pattern says.
TEST_P(ArchitectureTest, AWindowThatNoSequenceOutgrowsIsNone) {
  std::string pattern = Repeated('R');
  pattern[0] = 'S';
  const auto runner = Load(/*max_model_len=*/33, pattern);
  ASSERT_NE(runner, nullptr);
  EXPECT_EQ(runner->info().attention.pattern, pattern);
  EXPECT_TRUE(runner->info().tidal_available);
  for (int32_t layer = 0; layer < runner->info().num_layers; ++layer) {
    EXPECT_EQ(runner->model_config().window(layer), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Folders, ArchitectureTest,
                         ::testing::Values("llama2_mha", "llama3_scaled", "llama_linear",
                                           "llama_dynamic", "llama_yarn", "llama_yarn_factors",
                                           "llama_biases", "mistral_window", "mistral_full",
                                           "qwen2", "qwen2_window", "qwen3", "qwen3_window"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tidal
