#include "engine/model/attention_profile.h"

#include <string>

#include "engine/model/layer_plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/safetensors_writer.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;

// Of no published model.
ModelConfig Unknown(int32_t num_layers) {
  ModelConfig model;
  model.architecture = "LlamaForCausalLM";
  model.num_layers = num_layers;
  return model;
}

// Resolves with this tidal.json; none when it is empty.
absl::StatusOr<ResolvedAttention> Resolve(const std::string& profile, const std::string& file,
                                          const ModelConfig& model) {
  const TempFolder folder;
  if (!file.empty()) WriteFile(folder.path() + "/tidal.json", file);
  return ResolveAttention(profile, folder.path(), model);
}

absl::StatusOr<ResolvedAttention> Resolve(const std::string& profile, const std::string& file,
                                          int32_t num_layers) {
  return Resolve(profile, file, Unknown(num_layers));
}

ModelConfig Shape(const std::string& name) {
  const auto model = ReadModelConfig("tools/bench/shapes/" + name);
  EXPECT_TRUE(model.ok()) << model.status();
  return *model;
}

TEST(AttentionProfileTest, DefaultOfTheShippedModel) {
  const auto resolved = ResolveAttention("default", "models/tidal-nano", Unknown(16));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->config.pattern, "DDSRRRRRSSRRRRRR");
  EXPECT_EQ(resolved->config.granularity, SelectionGranularity::kShared);
  EXPECT_EQ(resolved->config.score, SelectionScore::kSoftmaxSum);
  EXPECT_EQ(resolved->config.sinks, 4);
  EXPECT_EQ(resolved->config.recency_fraction, 0.25f);
  EXPECT_EQ(resolved->config.token_budget, 256);
  EXPECT_EQ(resolved->source, "tidal.json");
  EXPECT_TRUE(resolved->chosen);
}

TEST(AttentionProfileTest, PaperOfTheShippedModel) {
  const auto resolved = ResolveAttention("paper", "models/tidal-nano", Unknown(16));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->config.pattern, "DDSRRRRRSRRRRRRR");
  EXPECT_EQ(resolved->config.granularity, SelectionGranularity::kKvHead);
  EXPECT_EQ(resolved->config.score, SelectionScore::kMaxLogit);
  EXPECT_EQ(resolved->config.sinks, 0);
  EXPECT_EQ(resolved->config.recency_fraction, 0);
  EXPECT_EQ(resolved->config.token_budget, 256);
}

TEST(AttentionProfileTest, WithoutAFileTheFallbackSaysSo) {
  const auto resolved = Resolve("default", "", 32);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->config.pattern, "DDSRRRRRRRRRRSRRRRRRRRRRRRRRRRRR");
  EXPECT_EQ(resolved->config.granularity, SelectionGranularity::kShared);
  EXPECT_EQ(resolved->config.token_budget, 2048);
  EXPECT_THAT(resolved->source, HasSubstr("fallback"));
  EXPECT_THAT(resolved->source, HasSubstr("re-selection at layer 13"));
}

TEST(AttentionProfileTest, PublishedModelsAreKnownByTheirShape) {
  struct Case {
    const char* shape;
    int32_t layers, reselection;
  };
  for (const Case& c :
       {Case{"llama-2-7b", 32, 7}, {"llama-3.1-8b", 32, 13}, {"qwen3-8b", 36, 12}}) {
    const auto resolved = Resolve("default", "", Shape(c.shape));
    ASSERT_TRUE(resolved.ok()) << resolved.status();
    EXPECT_EQ(resolved->config.pattern, PaperPattern(c.layers, c.reselection)) << c.shape;
    EXPECT_EQ(resolved->config.granularity, SelectionGranularity::kShared);
    EXPECT_THAT(resolved->source, HasSubstr("published for"));
    const auto paper = Resolve("paper", "", Shape(c.shape));
    EXPECT_EQ(paper->config.pattern, PaperPattern(c.layers, c.reselection)) << c.shape;
    EXPECT_EQ(paper->config.granularity, SelectionGranularity::kKvHead);
  }
  EXPECT_THAT(Resolve("default", "", Shape("qwen3-8b"))->source,
              HasSubstr("re-selection at layer 12 (published for Qwen3-8B)"));
  // Another architecture of the same shape is another model.
  ModelConfig other = Shape("llama-3.1-8b");
  other.architecture = "MistralForCausalLM";
  EXPECT_THAT(Resolve("default", "", other)->source, HasSubstr("fallback"));
  // What the folder says wins.
  EXPECT_THAT(Resolve("paper", R"({"reselection_layer":9})", Shape("qwen3-8b"))->source,
              HasSubstr("layer 9 (tidal.json)"));
  EXPECT_THAT(Resolve("default", "{}", Shape("qwen3-8b"))->source, HasSubstr("layer 14"));
}

// What "auto" of a request may mean depends on it.
TEST(AttentionProfileTest, OnlyTheFolderAndTheOperatorChoose) {
  const ModelConfig known = Shape("llama-3.1-8b");
  EXPECT_FALSE(Resolve("default", "", Unknown(30))->chosen);
  EXPECT_FALSE(Resolve("default", "", known)->chosen) << "published for the shape is not its own";
  EXPECT_FALSE(Resolve("default", R"({"token_budget":512})", known)->chosen);
  EXPECT_TRUE(Resolve("default", R"({"reselection_layer":9})", known)->chosen);
  EXPECT_TRUE(Resolve("default", R"({"pattern":"DDSR"})", 4)->chosen);
  for (const char* profile : {"published", "quality", "paper", "dense"}) {
    EXPECT_TRUE(Resolve(profile, "", known)->chosen) << profile;
  }
  EXPECT_TRUE(Resolve("DDSR", "", 4)->chosen);
}

TEST(AttentionProfileTest, PublishedIsTheDefaultByName) {
  for (const ModelConfig& model : {Unknown(30), Shape("llama-3.1-8b")}) {
    const auto published = Resolve("published", "", model);
    ASSERT_TRUE(published.ok()) << published.status();
    const auto fallback = Resolve("default", "", model);
    EXPECT_EQ(published->config.pattern, fallback->config.pattern);
    EXPECT_EQ(published->config.granularity, SelectionGranularity::kShared);
    EXPECT_THAT(published->source, HasSubstr("profile published"));
  }
  EXPECT_EQ(Resolve("published", R"({"pattern":"DSRR"})", 4)->config.pattern, "DDSR");
  EXPECT_EQ(Resolve("published", "", 3).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(AttentionProfileTest, QualityWhereItIsPublished) {
  const auto resolved = Resolve("quality", "", Shape("llama-3.1-8b"));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->config.pattern, "DDSRRRRRSRRRRSSRRRRRRRRRRRRRRRRR");
  EXPECT_THAT(resolved->source, HasSubstr("published for Llama-3-8B"));
  const auto none = Resolve("quality", "", Shape("llama-2-7b"));
  EXPECT_EQ(none.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(none.status().message()),
              HasSubstr("attention_profile: must be \"default\" or a pattern"));
}

TEST(AttentionProfileTest, FewLayersAreDense) {
  EXPECT_EQ(Resolve("default", "", 3)->config.pattern, "DDD");
  EXPECT_THAT(Resolve("default", "", 3)->source, HasSubstr("dense"));
  EXPECT_EQ(Resolve("paper", "", 3).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(AttentionProfileTest, DenseAndPattern) {
  const std::string file = R"({"pattern":"DSRR","granularity":"kv_head","token_budget":77})";
  EXPECT_EQ(Resolve("dense", file, 4)->config.pattern, "DDDD");
  const auto resolved = Resolve("SRAR", file, 4);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->config.pattern, "SRAR");
  EXPECT_EQ(resolved->config.granularity, SelectionGranularity::kKvHead);
  EXPECT_EQ(resolved->config.token_budget, 77);
}

TEST(AttentionProfileTest, EveryFieldIsRead) {
  const auto file = ParseTidalFile(R"({"pattern":"DDSR","granularity":"kv_head",
      "score":"max_logit","sinks":0,"recency_fraction":0.5,"token_budget":9,"dense_below":100,
      "correction_period":64,"reselection_layer":3})",
                                   "tidal.json", 4);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->config.granularity, SelectionGranularity::kKvHead);
  EXPECT_EQ(file->config.score, SelectionScore::kMaxLogit);
  EXPECT_EQ(file->config.sinks, 0);
  EXPECT_EQ(file->config.recency_fraction, 0.5f);
  EXPECT_EQ(file->config.token_budget, 9);
  EXPECT_EQ(file->config.dense_below, 100);
  EXPECT_EQ(file->config.correction_period, 64);
  EXPECT_EQ(file->reselection_layer, 3);
}

TEST(AttentionProfileTest, BadFilesAndProfilesNameTheField) {
  struct Case {
    const char* profile;
    const char* file;
    const char* message;
  };
  const Case cases[] = {
      {"default", R"({"budget":1})", "tidal.json: budget: is not a known field"},
      {"default", R"({"pattern":"DDR"})", "tidal.json: pattern: must have one character"},
      {"default", R"({"pattern":"DDRS"})", "pattern: must select"},
      {"default", R"({"pattern":5})", "pattern: must be a string, got 5"},
      {"default", R"({"granularity":"head"})", "granularity: must be \"shared\" or \"kv_head\""},
      {"default", R"({"score":"sum"})", "score: must be \"softmax_sum\" or \"max_logit\""},
      {"default", R"({"sinks":-1})", "sinks: must be an integer in [0, "},
      {"default", R"({"recency_fraction":1.5})", "recency_fraction: must be a number in [0, 1]"},
      {"default", R"({"token_budget":0})", "token_budget: must be an integer in [1, "},
      {"default", R"({"dense_below":-5})", "dense_below: must be"},
      {"default", R"({"correction_period":"x"})", "correction_period: must be"},
      {"default", R"({"reselection_layer":2})", "reselection_layer: must be an integer in [3, 3]"},
      {"default", "nonsense", "tidal.json: is not valid JSON"},
      {"papre", "", "attention_profile: must be \"default\", \"published\", \"quality\""},
      {"", "", "attention_profile: must have one character"},
      {"DDS", "", "attention_profile: must have one character for each of the 4"},
      {"DDRR", "", "attention_profile: must select"},
  };
  for (const Case& c : cases) {
    const auto resolved = Resolve(c.profile, c.file, 4);
    EXPECT_EQ(resolved.status().code(), absl::StatusCode::kInvalidArgument) << c.message;
    EXPECT_THAT(std::string(resolved.status().message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace tidal
