#include "engine/checkpoint/model_config.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A valid file with `change` after its other fields: the parser keeps the last of two.
std::string Config(const std::string& change) {
  return R"({"architectures":["LlamaForCausalLM"],"vocab_size":96,"hidden_size":64,
    "intermediate_size":128,"num_hidden_layers":3,"num_attention_heads":4,
    "num_key_value_heads":2,"max_position_embeddings":256,"rms_norm_eps":1e-5,
    "rope_theta":500000.0,"rope_scaling":null,"tie_word_embeddings":true,
    "eos_token_id":[6,1])" +
         (change.empty() ? "" : "," + change) + "}";
}

absl::StatusOr<ModelConfig> Parse(const std::string& change) {
  return ParseModelConfig(Config(change), "config.json");
}

TEST(ModelConfigTest, ReadsTheShippedModel) {
  const auto config = ReadModelConfig("models/tidal-nano");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->architecture, "LlamaForCausalLM");
  EXPECT_EQ(config->num_layers, 16);
  EXPECT_EQ(config->num_heads, 4);
  EXPECT_EQ(config->num_kv_heads, 2);
  EXPECT_EQ(config->head_dim, 64);
  EXPECT_EQ(config->qkv_size(), 512);
  EXPECT_EQ(config->max_position_embeddings, 32768);
  EXPECT_EQ(config->rope.theta, 500000);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(6, 1));
}

TEST(ModelConfigTest, DerivesWhatIsAbsent) {
  const auto config = Parse(R"("num_key_value_heads":null,"eos_token_id":null,
                               "tie_word_embeddings":null,"rope_theta":null)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->num_kv_heads, 4);
  EXPECT_EQ(config->rope.theta, 10000);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_THAT(config->eos_token_ids, IsEmpty());
}

TEST(ModelConfigTest, HeadDimNeedNotDivideTheHiddenSize) {
  const auto config = Parse(R"("head_dim":48,"hidden_size":70)");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->head_dim, 48);
  EXPECT_EQ(config->q_size(), 192);
}

TEST(ModelConfigTest, OneEndTokenOrAList) {
  EXPECT_THAT(Parse(R"("eos_token_id":7)")->eos_token_ids, ElementsAre(7));
  EXPECT_THAT(Parse(R"("eos_token_id":[1,2,3])")->eos_token_ids, ElementsAre(1, 2, 3));
}

std::string Named(const std::string& architecture, const std::string& fields = "") {
  return "\"architectures\":[\"" + architecture + "\"]" + (fields.empty() ? "" : "," + fields);
}

TEST(ModelConfigTest, BiasesAndNormsOfEachArchitecture) {
  struct Case {
    const char* architecture;
    const char* fields;
    bool qkv_bias, o_bias, mlp_bias, qk_norm;
  };
  const char* const kBoth = R"("attention_bias":true,"mlp_bias":true)";
  for (const Case& c : {Case{"LlamaForCausalLM", "", false, false, false, false},
                        {"LlamaForCausalLM", kBoth, true, true, true, false},
                        {"MistralForCausalLM", "", false, false, false, false},
                        {"Qwen2ForCausalLM", "", true, false, false, false},
                        {"Qwen3ForCausalLM", "", false, false, false, true},
                        {"Qwen3ForCausalLM", kBoth, true, true, false, true}}) {
    const auto config = Parse(Named(c.architecture, c.fields));
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->architecture, c.architecture);
    EXPECT_EQ(config->qkv_bias, c.qkv_bias) << c.architecture << c.fields;
    EXPECT_EQ(config->o_bias, c.o_bias) << c.architecture << c.fields;
    EXPECT_EQ(config->mlp_bias, c.mlp_bias) << c.architecture << c.fields;
    EXPECT_EQ(config->qk_norm, c.qk_norm) << c.architecture << c.fields;
  }
}

TEST(ModelConfigTest, HeadDimOfQwen3IsNotDerived) {
  EXPECT_EQ(Parse(Named("Qwen2ForCausalLM"))->head_dim, 16);
  EXPECT_EQ(Parse(Named("Qwen3ForCausalLM"))->head_dim, 128);
  EXPECT_EQ(Parse(Named("Qwen3ForCausalLM", "\"head_dim\":32"))->head_dim, 32);
}

TEST(ModelConfigTest, SlidingWindowsOfEachArchitecture) {
  const auto windows = [](const char* architecture, const std::string& fields) {
    const auto config = Parse(Named(architecture, fields));
    EXPECT_TRUE(config.ok()) << config.status();
    return config->layer_windows;
  };
  const char* const kOn = R"("use_sliding_window":true,"sliding_window":9)";
  EXPECT_THAT(windows("LlamaForCausalLM", kOn), IsEmpty());
  EXPECT_THAT(windows("MistralForCausalLM", ""), IsEmpty());
  EXPECT_THAT(windows("MistralForCausalLM", R"("sliding_window":null)"), IsEmpty());
  EXPECT_THAT(windows("MistralForCausalLM", R"("sliding_window":9)"), ElementsAre(9, 9, 9));
  for (const char* qwen : {"Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    EXPECT_THAT(windows(qwen, R"("use_sliding_window":false,"sliding_window":9)"), IsEmpty());
    EXPECT_THAT(windows(qwen, std::string(kOn) + R"(,"max_window_layers":1)"),
                ElementsAre(0, 9, 9));
    EXPECT_THAT(windows(qwen, kOn), ElementsAre(0, 0, 0));
    EXPECT_THAT(windows(qwen, std::string(kOn) + R"(,"max_window_layers":0,
        "layer_types":["full_attention","sliding_attention","full_attention"])"),
                ElementsAre(0, 9, 0));
  }
}

struct BadCase {
  const char* change;
  absl::StatusCode code;
  const char* message;
};

class BadConfigTest : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadConfigTest, NamesFieldValueAndLimit) {
  const auto config = Parse(GetParam().change);
  EXPECT_EQ(config.status().code(), GetParam().code) << config.status();
  EXPECT_THAT(std::string(config.status().message()), HasSubstr(GetParam().message));
}

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
constexpr absl::StatusCode kUnimplemented = absl::StatusCode::kUnimplemented;

INSTANTIATE_TEST_SUITE_P(
    Fields, BadConfigTest,
    ::testing::Values(
        BadCase{R"("architectures":["GPT2LMHeadModel"])", kUnimplemented,
                "config.json: architectures: must be one of LlamaForCausalLM, MistralForCausalLM, "
                "Qwen2ForCausalLM, Qwen3ForCausalLM, got [\"GPT2LMHeadModel\"]"},
        BadCase{R"("architectures":null)", kUnimplemented, "architectures: must be"},
        BadCase{R"("architectures":7)", kInvalid, "a string or a list of strings, got 7"},
        BadCase{R"("architectures":["MistralForCausalLM"],"sliding_window":0)", kInvalid,
                "sliding_window: must be an integer in [1, "},
        BadCase{R"("architectures":["Qwen2ForCausalLM"],"use_sliding_window":true)", kInvalid,
                "sliding_window: must be an integer in [1, 16777216], is missing"},
        BadCase{R"("architectures":["Qwen2ForCausalLM"],"use_sliding_window":true,
                   "sliding_window":4,"layer_types":["full_attention"])",
                kInvalid, "layer_types: must be a list of 3 types"},
        BadCase{R"("architectures":["Qwen2ForCausalLM"],"use_sliding_window":true,
                   "sliding_window":4,"layer_types":["full_attention","linear","linear"])",
                kUnimplemented, "layer_types: must be of \"full_attention\""},
        BadCase{R"("rope_scaling":{"type":"su","factor":8})", kUnimplemented,
                "rope_scaling: type: must be \"default\""},
        BadCase{R"("attention_bias":"yes")", kInvalid, "attention_bias: must be true or false"},
        BadCase{R"("mlp_bias":1)", kInvalid, "mlp_bias: must be true or false, got 1"},
        BadCase{R"("hidden_act":"gelu")", kUnimplemented, "hidden_act: must be \"silu\""},
        BadCase{R"("quantization_config":{})", kUnimplemented, "quantization_config"},
        BadCase{R"("partial_rotary_factor":0.5)", kUnimplemented, "partial_rotary_factor"},
        BadCase{R"("vocab_size":0)", kInvalid, "vocab_size: must be an integer in [1, 4194304]"},
        BadCase{R"("vocab_size":"96")", kInvalid, "vocab_size: must be an integer"},
        BadCase{R"("vocab_size":96.5)", kInvalid, "got 96.5"},
        BadCase{R"("hidden_size":-64)", kInvalid, "hidden_size: must be"},
        BadCase{R"("hidden_size":99999999999999999999)", kInvalid, "hidden_size: must be"},
        BadCase{R"("intermediate_size":null)", kInvalid, "intermediate_size: must be an integer"},
        BadCase{R"("num_hidden_layers":4096)", kInvalid, "in [1, 1024], got 4096"},
        BadCase{R"("num_key_value_heads":3)", kInvalid,
                "num_key_value_heads: must be a divisor of num_attention_heads (4), got 3"},
        BadCase{R"("num_key_value_heads":8)", kInvalid, "num_key_value_heads: must be"},
        BadCase{R"("num_attention_heads":3,"num_key_value_heads":1)", kInvalid,
                "num_attention_heads: must be a divisor of hidden_size (64)"},
        BadCase{R"("hidden_size":72)", kInvalid, "hidden_size: must be a multiple of 16"},
        BadCase{R"("head_dim":24)", kInvalid, "head_dim: must be a multiple of 16, at most 256"},
        BadCase{R"("head_dim":272)", kInvalid, "head_dim: must be a multiple of 16, at most 256"},
        BadCase{R"("rms_norm_eps":-1)", kInvalid, "rms_norm_eps: must be a number in"},
        BadCase{R"("rms_norm_eps":1e999)", kInvalid, "is not valid JSON"},
        BadCase{R"("rope_theta":0)", kInvalid, "rope_theta: must be a number in"},
        BadCase{R"("max_position_embeddings":0)", kInvalid, "max_position_embeddings: must be"},
        BadCase{R"("eos_token_id":96)", kInvalid, "eos_token_id: must be a token id or a list"},
        BadCase{R"("eos_token_id":["x"])", kInvalid, "eos_token_id: must be a token id"}));

TEST(ModelConfigTest, FilesThatAreNoConfig) {
  EXPECT_EQ(ReadModelConfig("models/none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(ReadModelConfig("models/none").status().message()),
              HasSubstr("models/none/config.json: no such file"));
  for (const char* text : {"", "{", "[]", "null", "{\"a\":1}}", "\xff\xfe"}) {
    EXPECT_EQ(ParseModelConfig(text, "f").status().code(), kInvalid) << text;
  }
}

}  // namespace
}  // namespace tidal
