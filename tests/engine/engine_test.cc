// Engine::Create and Execute: what is refused at start, what a step reports, how it fails.
#include "engine/engine.h"

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/engine_harness.h"
#include "tests/support/forwarding_backend.h"
#include "tests/support/test_backend.h"
#include "tests/support/tiny_model.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;

EngineConfig Config(const TinyModel& model) {
  EngineConfig config;
  config.model_path = model.path();
  config.kv_cache_bytes = 16 << 20;
  config.max_num_seqs = 8;
  config.max_num_batched_tokens = 256;
  return config;
}

absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineConfig& config) {
  return Engine::Create(config, MakeTestBackend());
}

// Fails with this code and a message that contains these words.
void ExpectError(const EngineConfig& config, absl::StatusCode code,
                 const std::vector<std::string>& words) {
  const absl::Status status = Create(config).status();
  EXPECT_EQ(status.code(), code) << status;
  for (const std::string& word : words) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(word));
  }
}

TEST(EngineCreateTest, SaysWhatItIs) {
  TinyModelSpec spec;
  spec.tidal_json = R"({"pattern":"DDSRSR","token_budget":5000})";
  const TinyModel model(spec);
  const auto engine = Create(Config(model));
  ASSERT_TRUE(engine.ok()) << engine.status();
  const EngineInfo& info = (*engine)->info();
  EXPECT_EQ(info.architecture, "LlamaForCausalLM");
  EXPECT_FALSE(info.device.empty());
  EXPECT_EQ(info.num_layers, 6);
  EXPECT_EQ(info.head_dim, 16);
  EXPECT_EQ(info.eos_token_ids, std::vector<TokenId>{1});
  EXPECT_EQ(info.max_model_len, 1024);
  EXPECT_EQ(info.kv_bytes_per_token, 2 * 6 * 2 * 16 * 2);
  EXPECT_EQ(info.num_blocks, (16 << 20) / (16 * info.kv_bytes_per_token));
  EXPECT_GT(info.weight_bytes, 6 * 48 * 80 * 3 * 2);
  EXPECT_EQ(info.attention.token_budget, 1024);  // no more than a request may ask for
  EXPECT_TRUE(info.tidal_available);
  EXPECT_TRUE(info.tidal_chosen);
  EXPECT_EQ(info.attention_source, "tidal.json");
}

TEST(EngineCreateTest, DenseProfileHasNoTidal) {
  const TinyModel model({});
  EngineConfig config = Config(model);
  config.attention_profile = "dense";
  const auto engine = Create(config);
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_FALSE((*engine)->info().tidal_available);
}

TEST(EngineCreateTest, MissingFiles) {
  const TinyModel model({});
  EngineConfig config = Config(model);
  config.model_path = "models/none";
  ExpectError(config, absl::StatusCode::kNotFound, {"models/none/config.json"});
  std::filesystem::remove(model.FilePath("model.safetensors"));
  ExpectError(Config(model), absl::StatusCode::kNotFound, {"model.safetensors"});
}

TEST(EngineCreateTest, UnsupportedArchitecture) {
  const TinyModel model({});
  WriteFile(model.FilePath("config.json"), R"({"architectures":["MambaForCausalLM"]})");
  ExpectError(Config(model), absl::StatusCode::kUnimplemented,
              {"config.json: architectures", "MambaForCausalLM", "LlamaForCausalLM"});
}

TEST(EngineCreateTest, TruncatedWeights) {
  const TinyModel model({});
  const std::string path = model.FilePath("model.safetensors");
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  ExpectError(Config(model), absl::StatusCode::kDataLoss, {path, "is the file truncated?"});
  std::filesystem::resize_file(path, 0);
  ExpectError(Config(model), absl::StatusCode::kDataLoss, {path});
}

TEST(EngineCreateTest, WrongShapeMissingTensorAndType) {
  const TinyModelSpec spec;
  const TinyModel model(spec);
  const auto tensors = TinyTensors(spec);
  const auto write = [&](auto change) {
    auto changed = tensors;
    change(changed);
    WriteFile(model.FilePath("model.safetensors"), SafetensorsBytes(changed));
  };
  write([](auto& t) { std::swap(t[2].shape[0], t[2].shape[1]); });
  ExpectError(Config(model), absl::StatusCode::kInvalidArgument,
              {"model.layers.0.self_attn.q_proj.weight: shape must be [64, 48]", "got [48, 64]"});
  write([](auto& t) { t.pop_back(); });
  ExpectError(Config(model), absl::StatusCode::kNotFound, {"model.norm.weight: is missing"});
  write([](auto& t) { t[0].name = "embedding"; });
  ExpectError(Config(model), absl::StatusCode::kNotFound, {"model.embed_tokens.weight"});

  TinyModelSpec untied = spec;
  untied.tie_word_embeddings = false;
  WriteFile(model.FilePath("config.json"), TinyConfigJson(untied));
  write([](auto&) {});
  ExpectError(Config(model), absl::StatusCode::kNotFound, {"lm_head.weight: is missing"});
}

TEST(EngineCreateTest, IntegerWeightsAreNotRead) {
  TinyModelSpec spec;
  const TinyModel model(spec);
  auto tensors = TinyTensors(spec);
  std::string bytes = SafetensorsBytes(tensors);
  // The same element size, another type.
  const std::string name = "\"model.norm.weight\":{\"dtype\":\"";
  bytes.replace(bytes.find(name) + name.size(), 4, "I16\"");
  bytes[bytes.find(name) + name.size() + 4] = ' ';
  WriteFile(model.FilePath("model.safetensors"), bytes);
  ExpectError(Config(model), absl::StatusCode::kUnimplemented,
              {"tensor model.norm.weight: dtype: must be BF16, F16 or F32, got I16"});
}

TEST(EngineCreateTest, KvBudgetTooSmallForOneSequence) {
  const TinyModel model({});
  EngineConfig config = Config(model);
  config.kv_cache_bytes = 1024 * 768 - 100;  // max_model_len * bytes a token, and a little less
  ExpectError(
      config, absl::StatusCode::kResourceExhausted,
      {"kv_cache_bytes: must be at least 786432", "max_model_len 1024", "100 bytes are missing"});
}

TEST(EngineCreateTest, BadTidalFileAndProfile) {
  TinyModelSpec spec;
  spec.tidal_json = R"({"pattern":"DDRSRR"})";
  const TinyModel model(spec);
  ExpectError(Config(model), absl::StatusCode::kInvalidArgument, {"tidal.json: pattern"});
  const TinyModel other({});
  EngineConfig config = Config(other);
  config.attention_profile = "fast";
  ExpectError(config, absl::StatusCode::kInvalidArgument, {"attention_profile", "\"fast\""});
}

TEST(EngineCreateTest, MemoryThatDoesNotFitIsNamed) {
  const TinyModel model({});
  auto backend = std::make_unique<ForwardingBackend>(MakeTestBackend());
  backend->max_allocation = 10 << 20;
  const absl::Status status = Engine::Create(Config(model), std::move(backend)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("kv_cache_bytes: "));
}

std::vector<TokenId> Prompt(int32_t size) {
  std::vector<TokenId> tokens(size);
  for (int32_t i = 0; i < size; ++i) tokens[i] = (i * 37 + 11) % 101;
  return tokens;
}

// The same weights in another file are the same model.
TEST(EngineExecuteTest, ShardsAndFloatTypesGiveTheSameTokens) {
  TinyModelSpec spec;
  spec.tie_word_embeddings = false;
  std::vector<TokenId> expected;
  for (const auto& [type, shards] : {std::pair("BF16", 1), {"BF16", 3}, {"F32", 1}, {"F32", 2}}) {
    spec.type = type;
    spec.num_shards = shards;
    const TinyModel model(spec);
    auto runner = LoadForTest(Config(model));
    TestSequence sequence(1, Prompt(50), ConsecutiveBlocks(0, 100, 16));
    const auto tokens = GenerateGreedy(*runner, sequence, 20, 64);
    if (expected.empty()) expected = tokens;
    EXPECT_EQ(tokens, expected) << type << " in " << shards;
  }
}

TEST(EngineExecuteTest, ReportsWhatAStepDid) {
  TinyModelSpec spec;
  spec.tidal_json = R"({"pattern":"DDSRAR"})";
  const TinyModel model(spec);
  auto engine = Create(Config(model)).value();
  TestSequence sparse(1, Prompt(60), ConsecutiveBlocks(0, 100, 16));
  TestSequence dense(2, Prompt(20), ConsecutiveBlocks(10, 100, 16));
  TestSequence prompt(3, Prompt(33), ConsecutiveBlocks(20, 100, 16));
  sparse.attention = {AttentionMode::kTidal, 16, 0};
  const auto first = engine->Execute({{sparse.Prefill(60), dense.Prefill(20)}});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->stats.prefill_tokens, 80);
  EXPECT_EQ(first->stats.decode_rows, 0);
  EXPECT_EQ(first->stats.kv_bytes_read, 0);
  for (TestSequence* sequence : {&sparse, &dense}) {
    sequence->num_computed_tokens = sequence->size();
    sequence->tokens.push_back(first->sequences[sequence->id - 1].sampled[0].id);
  }
  const auto second = engine->Execute({{prompt.Prefill(30), sparse.Decode(), dense.Decode()}});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(second->sequences[0].sampled.empty());
  EXPECT_TRUE(second->sequences[1].ran_sparse);
  EXPECT_FALSE(second->sequences[2].ran_sparse);
  EXPECT_EQ(second->sequences[2].sampled.size(), 1u);
  EXPECT_EQ(second->stats.prefill_tokens, 30);
  EXPECT_EQ(second->stats.decode_rows, 2);
  EXPECT_EQ(second->stats.sparse_rows, 1);
  EXPECT_EQ(second->stats.selected_tokens, 16);
  // Dense row: 21 tokens in 6 layers. Sparse: 61 in D, D, S and A, 16 in R, A and R.
  EXPECT_EQ(second->stats.kv_bytes_read, (6 * 21 + 4 * 61 + 3 * 16) * (2 * 2 * 16 * 2));
  EXPECT_GT(second->stats.execute_seconds, 0);
}

TEST(EngineExecuteTest, AnEmptyStepIsFine) {
  const TinyModel model({});
  auto engine = Create(Config(model)).value();
  const auto output = engine->Execute({});
  ASSERT_TRUE(output.ok());
  EXPECT_TRUE(output->sequences.empty());
}

TEST(EngineExecuteTest, TidalModeWithoutAPlanIsDense) {
  const TinyModel model({});
  EngineConfig config = Config(model);
  config.attention_profile = "dense";
  auto runner = LoadForTest(config);
  TestSequence sequence(1, Prompt(60), ConsecutiveBlocks(0, 100, 16));
  sequence.attention = {AttentionMode::kTidal, 16, 0};
  RunPrefill(*runner, sequence, 256);
  sequence.tokens.push_back(3);
  const auto output = runner->Execute({{sequence.Decode()}});
  ASSERT_TRUE(output.ok());
  EXPECT_FALSE(output->sequences[0].ran_sparse);
}

TEST(EngineExecuteTest, ABackendErrorIsFinal) {
  const TinyModel model({});
  auto owned = std::make_unique<ForwardingBackend>(MakeTestBackend());
  ForwardingBackend* backend = owned.get();
  auto engine = Engine::Create(Config(model), std::move(owned)).value();
  const TestSequence sequence(1, Prompt(20), ConsecutiveBlocks(0, 100, 16));
  ASSERT_TRUE(engine->Execute({{sequence.Prefill(20)}}).ok());
  backend->error = "MatMul: the device is gone";
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = engine->Execute({{sequence.Prefill(20)}}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(status.message()), HasSubstr("MatMul: the device is gone"));
    backend->error.clear();
  }
}

TEST(EngineDeathTest, BrokenPromisesOfTheSchedulerAbort) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const TinyModel model({});
  auto engine = Create(Config(model)).value();
  const TestSequence good(1, Prompt(20), ConsecutiveBlocks(0, 32, 16));
  const auto run = [&](auto change) {
    StepInput input = {{good.Prefill(20)}};
    change(input.sequences[0]);
    (void)engine->Execute(input);
  };
  EXPECT_DEATH(run([](auto& s) { s.num_new_tokens = 21; }), "CHECK failed");
  EXPECT_DEATH(run([](auto& s) { s.num_computed_tokens = -1; }), "CHECK failed");
  EXPECT_DEATH(run([](auto& s) { s.block_table = s.block_table.subspan(1); }), "CHECK failed");
  EXPECT_DEATH(run([](auto& s) { s.kind = RowKind::kDecode; }), "CHECK failed");
  EXPECT_DEATH(run([](auto& s) { s.sampling = nullptr; }), "CHECK failed");
  const std::vector<BlockId> outside = {0, 1 << 20};
  EXPECT_DEATH(run([&](auto& s) { s.block_table = outside; }), "CHECK failed");
  std::vector<TokenId> tokens = Prompt(20);
  tokens[7] = 101;
  EXPECT_DEATH(run([&](auto& s) { s.tokens = tokens; }), "CHECK failed");
  EXPECT_DEATH(run([](auto& s) { s.num_pending_tokens = 1; }), "CHECK failed") << "no step before";
  EXPECT_DEATH(run([](auto& s) { s.slot = -1; }), "CHECK failed");
  EXPECT_DEATH(run([](auto& s) { s.slot = 1 << 20; }), "CHECK failed");
  EXPECT_DEATH(run([](auto& s) { s.new_in_slot = false; }), "CHECK failed") << "nobody's slot";
  EXPECT_DEATH(run([](auto& s) { s.num_sent_blocks = 1; }), "CHECK failed");
}

}  // namespace
}  // namespace tidal
