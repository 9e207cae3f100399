#include "server/text/tokenizer_info.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace tidal {
namespace {

using nlohmann::json;

// A folder that goes with the test.
class TokenizerInfoTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("tidal_tokenizer_info_" +
               std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
  }
  json Read(const std::string& replacement = "") {
    const auto info = ReadTokenizerInfo(folder_.string(), replacement);
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? json::parse(*info) : json();
  }

  std::filesystem::path folder_;
};

TEST_F(TokenizerInfoTest, TokensAreTheirTexts) {
  Write("tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer", "vocab_file": "v.json",
      "merges_file": null, "bos_token": {"__type": "AddedToken", "content": "<s>"},
      "eos_token": "</s>", "model_max_length": 8, "additional_special_tokens": ["<a>",
      {"content": "<b>", "lstrip": false}], "added_tokens_decoder": {"0": {"content": "<s>"}}})");
  EXPECT_EQ(Read(), json({{"tokenizer_class", "LlamaTokenizer"},
                          {"bos_token", "<s>"},
                          {"eos_token", "</s>"},
                          {"model_max_length", 8},
                          {"additional_special_tokens", {"<a>", "<b>"}},
                          {"added_tokens_decoder", {{"0", "<s>"}}}}));
}

TEST_F(TokenizerInfoTest, TheTemplateIsTheOneInForce) {
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "t"},
                                                       {"name": "default", "template": "d"}]})");
  EXPECT_EQ(Read()["chat_template"], "d");
  EXPECT_EQ(Read("{{ messages }}")["chat_template"], "{{ messages }}");
  Write("chat_template.jinja", "file");
  EXPECT_EQ(Read()["chat_template"], "file");
}

TEST_F(TokenizerInfoTest, NothingThereAndNonsense) {
  EXPECT_EQ(Read(), json({{"tokenizer_class", "PreTrainedTokenizerFast"}}));
  Write("tokenizer_config.json", "[]");
  EXPECT_TRUE(absl::IsInvalidArgument(ReadTokenizerInfo(folder_.string()).status()));
}

}  // namespace
}  // namespace tidal
