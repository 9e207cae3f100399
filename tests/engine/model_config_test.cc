#include "engine/model_config.h"

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

TEST(ModelConfigTest, ThetaMayStandInRopeParameters) {
  const auto config = Parse(R"("rope_parameters":{"rope_type":"default","rope_theta":7.5})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->rope.theta, 7.5);
  EXPECT_EQ(Parse(R"("rope_parameters":{"rope_type":"yarn","rope_theta":7.5})").status().code(),
            absl::StatusCode::kUnimplemented);
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
                "config.json: architectures: must be [\"LlamaForCausalLM\"], got "
                "[\"GPT2LMHeadModel\"]"},
        BadCase{R"("architectures":null)", kUnimplemented, "architectures: must be"},
        BadCase{R"("architectures":7)", kInvalid, "a string or a list of strings, got 7"},
        BadCase{R"("rope_scaling":{"factor":8})", kUnimplemented, "rope_scaling: must be null"},
        BadCase{R"("attention_bias":true)", kUnimplemented, "attention_bias: must be false"},
        BadCase{R"("mlp_bias":true)", kUnimplemented, "mlp_bias: must be false"},
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
