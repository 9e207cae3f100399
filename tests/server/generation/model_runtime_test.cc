// A model being served, without doors: what the warm-up finds, what a broken model does to those
// who ask, and how a request attends that does not say it.
#include "server/generation/model_runtime.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/tiny_model.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

const fs::path& Nano() {
  static const auto* const path = new fs::path(fs::absolute("models/tidal-nano"));
  return *path;
}

void Link(const std::string& folder, const std::string& file) {
  fs::create_symlink(Nano() / file, fs::path(folder) / file);
}

// A model of random weights with tidal-nano's text; `tensor`, from its element `begin` on, is
// `bad`.
std::unique_ptr<TinyModel> BrokenModel(const std::string& tensor, size_t begin, size_t count,
                                       float bad) {
  TinyModelSpec spec;
  spec.vocab_size = 4096;
  spec.tie_word_embeddings = false;
  auto model = std::make_unique<TinyModel>(spec);
  std::vector<TensorToWrite> tensors = TinyTensors(spec);
  bool found = false;
  for (TensorToWrite& t : tensors) {
    if (t.name != tensor) continue;
    found = true;
    for (size_t i = begin; i < begin + count; ++i) t.values.at(i) = bad;
  }
  EXPECT_TRUE(found) << tensor;
  WriteFile(model->FilePath("model.safetensors"), SafetensorsBytes(tensors));
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) Link(model->path(), file);
  return model;
}

ModelOptions OptionsFor(const std::string& folder) {
  ModelOptions options;
  options.served_model_names = {"m"};
  options.engine.model_path = folder;
  options.engine.max_model_len = 256;
  options.engine.kv_cache_bytes = 16 << 20;
  options.engine.max_num_seqs = 8;
  options.engine.max_num_batched_tokens = 128;
  const char* const device = std::getenv("TIDAL_TEST_DEVICE");
  options.backend.device = device == nullptr ? "cpu" : device;
  options.backend.num_threads = 1;
  return options;
}

v1::GenerateRequest RequestOf(const std::vector<TokenId>& prompt, uint32_t max_tokens) {
  v1::GenerateRequest request;
  request.mutable_token_ids()->mutable_ids()->Add(prompt.begin(), prompt.end());
  request.mutable_stopping()->set_max_tokens(max_tokens);
  request.mutable_stopping()->set_ignore_eos(true);
  request.mutable_sampling()->set_temperature(0);
  return request;
}

struct Reply {
  absl::Status status;
  v1::Usage usage;
};

Reply ReadAll(Generation& generation) {
  Reply reply;
  while (true) {
    Generation::Item item = generation.WaitNext();
    if (item.end.has_value()) reply.status = *item.end;
    if (!item.event.has_value()) return reply;
    if (item.event->has_usage()) reply.usage = item.event->usage();
  }
}

// The value of a line of the metrics, which begins so; -1 when there is none.
double MetricOf(ModelRuntime& runtime, absl::string_view name) {
  const std::string text = runtime.metrics().Render();
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StartsWith(line, name)) return std::stod(std::string(line.substr(line.rfind(' '))));
  }
  return -1;
}

TEST(ModelRuntimeTest, TheWarmUpNoticesAModelThatComputesNoNumbers) {
  for (const float bad : {kNan, kInf, -kInf}) {
    for (const char* tensor : {"model.norm.weight", "model.layers.3.mlp.down_proj.weight"}) {
      SCOPED_TRACE(absl::StrCat(tensor, " ", bad));
      const auto model = BrokenModel(tensor, 0, 48, bad);
      auto runtime = ModelRuntime::Load(OptionsFor(model->path()), {});
      ASSERT_TRUE(runtime.ok()) << runtime.status();
      const absl::Status status = (*runtime)->WarmUp();
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("NaN or infinite"));
    }
  }
}

// One token's embedding is broken: whoever has it in the prompt, or samples it, gets an error, the
// others of the same steps go on. Where steps are launched ahead, one that reads the token of a
// corrupt row is under way when the row is found out.
TEST(ModelRuntimeTest, ABrokenTokenEndsOnlyTheRequestsThatHaveIt) {
  constexpr TokenId kBroken = 2000;
  const auto model = BrokenModel("model.embed_tokens.weight", size_t{kBroken} * 48, 48, kNan);
  auto loaded = ModelRuntime::Load(OptionsFor(model->path()), {});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ModelRuntime& runtime = **loaded;
  ASSERT_TRUE(runtime.WarmUp().ok());
  std::vector<std::shared_ptr<Generation>> generations;
  for (int i = 0; i < 6; ++i) {
    std::vector<TokenId> prompt(20, 100 + i);
    if (i == 3 || i == 5) prompt[7] = kBroken;
    v1::GenerateRequest request = RequestOf(prompt, 30);
    if (i == 1) (*request.mutable_sampling()->mutable_logit_bias())[kBroken] = 100;
    if (i == 3) request.mutable_sampling()->set_temperature(1);
    if (i == 5) request.mutable_output()->set_logprobs(2);
    generations.push_back(runtime.service().Start(request, {}));
  }
  for (int i = 0; i < 6; ++i) {
    const Reply reply = ReadAll(*generations[i]);
    if (i % 2 == 0) {
      EXPECT_TRUE(reply.status.ok()) << reply.status;
      EXPECT_EQ(reply.usage.completion_tokens(), 30u);
    } else {
      EXPECT_EQ(reply.status.code(), absl::StatusCode::kInternal) << reply.status;
      EXPECT_THAT(std::string(reply.status.message()), HasSubstr("NaN or infinite"));
    }
  }
  EXPECT_EQ(MetricOf(runtime, "vllm:corrupted_requests_total"), 3);
  EXPECT_EQ(runtime.loop().stats().kv_cache_usage, 0);
}

TEST(ModelRuntimeTest, MetricsCountEveryTokenOnceAndNoneOfTheWarmUp) {
  auto loaded = ModelRuntime::Load(OptionsFor(Nano().string()), {});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ModelRuntime& runtime = **loaded;
  ASSERT_TRUE(runtime.WarmUp().ok());
  for (const char* name : {"vllm:iteration_tokens_total_count", "vllm:iteration_tokens_total_sum",
                           "vllm:prefix_cache_queries_total", "vllm:prompt_tokens_by_source_total",
                           "tidal:step_seconds_count", "tidal:dense_decode_steps_total",
                           "tidal:sparse_decode_steps_total", "tidal:kv_bytes_read_total"}) {
    EXPECT_EQ(MetricOf(runtime, name), 0) << name;
  }
  const auto generation = runtime.service().Start(RequestOf(std::vector<TokenId>(40, 77), 9), {});
  const Reply reply = ReadAll(*generation);
  ASSERT_TRUE(reply.status.ok()) << reply.status;
  EXPECT_EQ(MetricOf(runtime, "vllm:iteration_tokens_total_sum"), 49);
  EXPECT_EQ(MetricOf(runtime, "vllm:prompt_tokens_total"), 40);
  EXPECT_EQ(MetricOf(runtime, "vllm:generation_tokens_total"), 9);
}

// "auto" is tidal where the folder, or the operator, has chosen a plan; a request may always ask.
TEST(ModelRuntimeTest, AutoIsFullWithoutAPlanOfTheModelsOwn) {
  const TempFolder bare;
  for (const auto& entry : fs::directory_iterator(Nano())) {
    if (entry.path().filename() != "tidal.json") Link(bare.path(), entry.path().filename());
  }
  struct Case {
    std::string folder, profile;
    v1::AttentionMode mode;
  };
  for (const Case& c : {Case{Nano().string(), "default", v1::ATTENTION_MODE_TIDAL},
                        Case{bare.path(), "default", v1::ATTENTION_MODE_FULL},
                        Case{bare.path(), "published", v1::ATTENTION_MODE_TIDAL},
                        Case{bare.path(), "paper", v1::ATTENTION_MODE_TIDAL}}) {
    SCOPED_TRACE(c.folder + " " + c.profile);
    ModelOptions options = OptionsFor(c.folder);
    options.engine.attention_profile = c.profile;
    options.token_budget = 32;
    auto runtime = ModelRuntime::Load(options, {});
    ASSERT_TRUE(runtime.ok()) << runtime.status();
    ASSERT_TRUE((*runtime)->WarmUp().ok());
    const v1::ModelInfo info = (*runtime)->service().GetModelInfo();
    EXPECT_EQ(info.default_attention_mode(), c.mode);
    EXPECT_EQ(info.default_token_budget(), 32u);
    EXPECT_THAT(info.attention_pattern(), HasSubstr("R"));

    v1::GenerateRequest request = RequestOf(std::vector<TokenId>(60, 77), 5);
    const Reply by_default = ReadAll(*(*runtime)->service().Start(request, {}));
    const bool sparse = c.mode == v1::ATTENTION_MODE_TIDAL;
    EXPECT_EQ(by_default.usage.attention().mode(), c.mode);
    EXPECT_EQ(by_default.usage.attention().budget(), sparse ? 32u : 0u);
    EXPECT_EQ(by_default.usage.attention().sparse_steps(), sparse ? 4u : 0u);
    request.mutable_attention()->set_mode(v1::ATTENTION_MODE_TIDAL);
    const Reply asked = ReadAll(*(*runtime)->service().Start(request, {}));
    EXPECT_EQ(asked.usage.attention().mode(), v1::ATTENTION_MODE_TIDAL);
    EXPECT_EQ(asked.usage.attention().sparse_steps(), 4u);
  }
}

}  // namespace
}  // namespace tidal
