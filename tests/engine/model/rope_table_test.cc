#include "engine/model/rope_table.h"

#include <cmath>
#include <string>
#include <vector>

#include "engine/json/json_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<RopeConfig> Parse(const std::string& fields, int32_t max_position_embeddings) {
  const auto json = JsonFile::Parse("{" + fields + "}", "config.json");
  EXPECT_TRUE(json.ok()) << json.status();
  return ParseRopeConfig(*json, max_position_embeddings);
}

// Frequencies of pairs 0, 8, ... 56 and 63 of heads of 128, computed by transformers 5.24.
struct KnownCase {
  const char* name;
  const char* fields;  // of config.json
  int32_t max_position_embeddings, max_model_len;
  double attention_factor;
  std::vector<double> frequencies;
};

const std::vector<KnownCase>& KnownCases() {
  static const auto* const cases = new std::vector<KnownCase>{
      {"Llama-3.1",
       R"("rope_theta":500000.0,"rope_scaling":{"factor":8.0,"low_freq_factor":1.0,
          "high_freq_factor":4.0,"original_max_position_embeddings":8192,"rope_type":"llama3"})",
       131072,
       131072,
       1.0,
       {1.0, 0.1939228, 0.03760603, 0.007292665, 0.000524846, 3.428102e-05, 6.64787e-06,
        1.289173e-06, 3.068926e-07}},
      {"Qwen2.5 with yarn",
       R"("rope_theta":1000000.0,"rope_scaling":{"factor":4.0,
          "original_max_position_embeddings":32768,"type":"yarn"})",
       32768,
       131072,
       1.13862944,
       {1.0, 0.1778279, 0.03162278, 0.005375321, 0.0006029411, 4.445699e-05, 7.905694e-06,
        1.405853e-06, 3.102344e-07}},
      {"yarn with mscale",
       R"("rope_parameters":{"rope_theta":10000.0,"rope_type":"yarn","factor":40.0,
          "original_max_position_embeddings":4096,"beta_fast":32,"beta_slow":1,"mscale":1.0,
          "mscale_all_dim":0.707})",
       131072,
       131072,
       1.0857264,
       {1.0, 0.3162278, 0.1, 0.02687936, 0.0055, 0.0007905694, 2.5e-05, 7.905694e-06,
        2.886955e-06}},
      {"yarn with a factor of its own, not truncated",
       R"("rope_parameters":{"rope_theta":10000.0,"rope_type":"yarn","factor":16.0,
          "original_max_position_embeddings":4096,"attention_factor":0.8,"truncate":false})",
       131072,
       131072,
       0.8,
       {1.0, 0.3162278, 0.1, 0.02786132, 0.005696214, 0.0008164705, 6.25e-05, 1.976424e-05,
        7.217387e-06}},
      {"linear",
       R"("rope_scaling":{"type":"linear","factor":8.0})",
       4096,
       4096,
       1.0,
       {0.125, 0.03952847, 0.0125, 0.003952847, 0.00125, 0.0003952847, 0.000125, 3.952847e-05,
        1.443477e-05}},
      {"dynamic within the original length",
       R"("rope_scaling":{"type":"dynamic","factor":2.0})",
       4096,
       3000,
       1.0,
       {1.0, 0.3162278, 0.1, 0.03162278, 0.01, 0.003162278, 0.001, 0.0003162278, 0.0001154782}},
      {"dynamic at its longest",
       R"("rope_scaling":{"type":"dynamic","factor":2.0})",
       4096,
       8192,
       1.0,
       {1.0, 0.275051, 0.07565303, 0.02080844, 0.005723382, 0.001574222, 0.0004329912, 0.0001190946,
        3.849273e-05}},
  };
  return *cases;
}

TEST(RopeTableTest, FrequenciesEqualThoseOfTransformers) {
  for (const KnownCase& c : KnownCases()) {
    const auto rope = Parse(c.fields, c.max_position_embeddings);
    ASSERT_TRUE(rope.ok()) << c.name << rope.status();
    EXPECT_NEAR(rope->attention_factor, c.attention_factor, 1e-8) << c.name;
    const auto frequencies = RopeFrequencies(c.max_model_len, 128, *rope);
    ASSERT_EQ(frequencies.size(), 64u);
    for (size_t i = 0; i < c.frequencies.size(); ++i) {
      const double actual = frequencies[i < 8 ? 8 * i : 63];
      EXPECT_NEAR(actual / c.frequencies[i], 1, 1e-6) << c.name << " " << i;
    }
  }
}

TEST(RopeTableTest, TheTableIsCosinesThenSinesTimesTheAttentionFactor) {
  RopeConfig rope;
  rope.attention_factor = 1.25;
  const auto table = MakeRopeTable(50, 16, rope);
  ASSERT_EQ(table.size(), 50u * 16);
  for (int32_t position : {0, 1, 49}) {
    for (int32_t i = 0; i < 8; ++i) {
      const double angle = position * std::pow(10000.0, -i / 8.0);
      EXPECT_FLOAT_EQ(table[position * 16 + i], static_cast<float>(1.25 * std::cos(angle)));
      EXPECT_FLOAT_EQ(table[position * 16 + 8 + i], static_cast<float>(1.25 * std::sin(angle)));
    }
  }
}

TEST(RopeConfigTest, TheLongestContext) {
  const auto longest = [](const std::string& fields, int32_t max_position_embeddings) {
    const auto rope = Parse(fields, max_position_embeddings);
    EXPECT_TRUE(rope.ok()) << rope.status();
    return rope->MaxContextLen(max_position_embeddings);
  };
  EXPECT_EQ(longest("", 4096), 4096);
  EXPECT_EQ(longest(R"("rope_scaling":{"type":"linear","factor":4})", 16384), 16384);
  EXPECT_EQ(longest(R"("rope_scaling":{"type":"dynamic","factor":2.5})", 4096), 10240);
  EXPECT_EQ(longest(R"("rope_scaling":{"type":"dynamic","factor":9999})", 1 << 20), 1 << 24);
  const std::string yarn =
      R"("rope_scaling":{"type":"yarn","factor":4,"original_max_position_embeddings":32768})";
  EXPECT_EQ(longest(yarn, 32768), 131072);
  EXPECT_EQ(longest(yarn, 40960), 131072);
  EXPECT_EQ(longest(yarn, 262144), 262144);
  EXPECT_EQ(longest(R"("rope_scaling":{"type":"yarn","factor":2})", 4096), 8192);
}

TEST(RopeConfigTest, ThetaStandsInTheObjectOrBesideIt) {
  EXPECT_EQ(Parse("", 100)->theta, 10000);
  EXPECT_EQ(Parse(R"("rope_theta":7.5)", 100)->theta, 7.5);
  EXPECT_EQ(Parse(R"("rope_theta":7.5,"rope_scaling":{"type":"linear","factor":2})", 100)->theta,
            7.5);
  EXPECT_EQ(Parse(R"("rope_theta":7.5,"rope_parameters":{"rope_theta":9})", 100)->theta, 9);
}

TEST(RopeConfigTest, BadFieldsAreNamed) {
  struct Case {
    const char* fields;
    absl::StatusCode code;
    const char* message;
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  for (
      const Case& c : {
          Case{R"("rope_theta":0)", kInvalid, "config.json: rope_theta: must be a number in"},
          {R"("rope_scaling":7)", kInvalid, "rope_scaling: must be an object, got 7"},
          {R"("rope_scaling":{"factor":8})", kInvalid,
           "config.json: rope_scaling: rope_type: must be a string, is missing"},
          {R"("rope_scaling":{"type":"longrope"})", kUnimplemented,
           "rope_scaling: type: must be \"default\", \"linear\", \"dynamic\", \"yarn\" or "
           "\"llama3\", got \"longrope\""},
          {R"("rope_parameters":{"rope_type":"mrope","type":"linear"})", kUnimplemented,
           "rope_parameters: rope_type: must be"},
          {R"("rope_parameters":{"full_attention":{"rope_type":"default"}})", kUnimplemented,
           "rope_parameters: full_attention: must be absent"},
          {R"("rope_scaling":{"type":"linear"})", kInvalid, "factor: must be a number in"},
          {R"("rope_scaling":{"type":"linear","factor":0.5})", kInvalid, "factor: must be"},
          {R"("rope_scaling":{"type":"llama3","factor":8,"high_freq_factor":4})", kInvalid,
           "low_freq_factor: must be a number in"},
          {R"("rope_scaling":{"type":"llama3","factor":8,"high_freq_factor":1,"low_freq_factor":1})",
           kInvalid, "high_freq_factor: must be greater than low_freq_factor, got 1"},
          {R"("rope_scaling":{"type":"yarn","factor":8,"beta_fast":1,"beta_slow":2})", kInvalid,
           "beta_fast: must be greater than beta_slow"},
          {R"("rope_scaling":{"type":"yarn","factor":8,"original_max_position_embeddings":0})",
           kInvalid, "original_max_position_embeddings: must be an integer in"},
          {R"("partial_rotary_factor":0.5)", kUnimplemented, "partial_rotary_factor: must be 1"},
          {R"("rope_parameters":{"partial_rotary_factor":0.25})", kUnimplemented,
           "rope_parameters: partial_rotary_factor: must be 1"},
      }) {
    const auto rope = Parse(c.fields, 4096);
    EXPECT_EQ(rope.status().code(), c.code) << c.fields << rope.status();
    EXPECT_THAT(std::string(rope.status().message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace tidal
