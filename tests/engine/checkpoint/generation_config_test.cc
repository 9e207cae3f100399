#include "engine/checkpoint/generation_config.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/safetensors_writer.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Optional;

constexpr int32_t kVocabSize = 100;

absl::StatusOr<GenerationConfig> Read(const std::string& text) {
  const TempFolder folder;
  WriteFile(folder.path() + "/generation_config.json", text);
  return ReadGenerationConfig(folder.path(), kVocabSize);
}

TEST(GenerationConfigTest, ReadsTheShippedModel) {
  const auto config = ReadGenerationConfig("models/tidal-nano", 4096);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->do_sample, false);
  EXPECT_EQ(config->max_new_tokens, 256);
  EXPECT_THAT(config->eos_token_ids, Optional(ElementsAre(6, 1)));
  EXPECT_FALSE(config->temperature.has_value());
}

TEST(GenerationConfigTest, ReadsEveryField) {
  const auto config = Read(R"({"do_sample":true,"temperature":0.6,"top_k":50,"top_p":0.9,
      "min_p":0.1,"repetition_penalty":1.1,"max_new_tokens":7,"eos_token_id":3,
      "transformers_version":"4"})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->do_sample, true);
  EXPECT_EQ(config->temperature, 0.6f);
  EXPECT_EQ(config->top_k, 50);
  EXPECT_EQ(config->top_p, 0.9f);
  EXPECT_EQ(config->min_p, 0.1f);
  EXPECT_EQ(config->repetition_penalty, 1.1f);
  EXPECT_EQ(config->max_new_tokens, 7);
  EXPECT_THAT(config->eos_token_ids, Optional(ElementsAre(3)));
}

TEST(GenerationConfigTest, AbsentFileIsEmpty) {
  const TempFolder folder;
  const auto config = ReadGenerationConfig(folder.path(), kVocabSize);
  ASSERT_TRUE(config.ok());
  EXPECT_FALSE(config->top_p.has_value());
}

TEST(GenerationConfigTest, EndTokensAreOneOrMany) {
  EXPECT_THAT(Read(R"({"eos_token_id":[1,2,3]})")->eos_token_ids, Optional(ElementsAre(1, 2, 3)));
  EXPECT_EQ(Read(R"({"top_k":5})")->eos_token_ids, std::nullopt);
}

TEST(GenerationConfigTest, BadValuesNameTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"temperature":-1})", "temperature: must be a number in [0, 2], got -1"},
      {R"({"temperature":"hot"})", "temperature: must be a number"},
      {R"({"top_p":0})", "top_p: must be a number"},
      {R"({"top_k":1.5})", "top_k: must be an integer"},
      {R"({"max_new_tokens":0})", "max_new_tokens: must be an integer"},
      {R"({"eos_token_id":100})", "eos_token_id: must be a token id"},
      {R"({"do_sample":1})", "do_sample: must be true or false"},
      {"[1]", "must be a JSON object, got [1]"}};
  for (const auto& [text, message] : cases) {
    const auto config = Read(text);
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(message));
  }
}

}  // namespace
}  // namespace tidal
