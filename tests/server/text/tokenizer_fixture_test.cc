// The same ids as Hugging Face's tokenizers library; make_tokenizer_fixture.py wrote the texts.
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/text/incremental_detokenizer.h"
#include "server/text/tokenizer.h"

namespace tidal {
namespace {

constexpr char kModel[] = "models/tidal-nano";

nlohmann::json ReadJson(const std::string& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
}

class TokenizerFixtureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tokenizer = Tokenizer::Load(kModel);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    fixture_ = ReadJson("tests/server/text/tokenizer_fixture.json");
    ASSERT_TRUE(fixture_.is_array());
    ASSERT_GE(fixture_.size(), 2000u);
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  nlohmann::json fixture_;
};

TEST_F(TokenizerFixtureTest, SameIds) {
  for (const nlohmann::json& entry : fixture_) {
    const auto text = entry[0].get<std::string>();
    const auto ids = tokenizer_->Encode(text, /*add_special_tokens=*/false);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, entry[1].get<std::vector<TokenId>>()) << entry[0];
  }
}

TEST_F(TokenizerFixtureTest, SpecialTokensGoAround) {
  for (const nlohmann::json& entry : fixture_) {
    auto expected = entry[1].get<std::vector<TokenId>>();
    expected.insert(expected.begin(), 0);  // <|bos|>
    const auto ids = tokenizer_->Encode(entry[0].get<std::string>(), /*add_special_tokens=*/true);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, expected);
  }
}

TEST_F(TokenizerFixtureTest, RoundTrip) {
  for (const nlohmann::json& entry : fixture_) {
    const auto ids = entry[1].get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer_->Decode(ids, /*skip_special_tokens=*/false), entry[0].get<std::string>());
  }
}

TEST_F(TokenizerFixtureTest, IncrementalEqualsDecode) {
  for (const bool skip : {false, true}) {
    for (const nlohmann::json& entry : fixture_) {
      const auto ids = entry[1].get<std::vector<TokenId>>();
      IncrementalDetokenizer detokenizer(tokenizer_.get(), skip);
      std::string text;
      for (const TokenId id : ids) text += detokenizer.Append(id);
      text += detokenizer.Flush();
      EXPECT_EQ(text, tokenizer_->Decode(ids, skip));
    }
  }
}

TEST_F(TokenizerFixtureTest, GoldenPrompts) {
  const nlohmann::json golden = ReadJson("tests/golden/golden.json");
  ASSERT_TRUE(golden.is_array());
  ASSERT_FALSE(golden.empty());
  for (const nlohmann::json& entry : golden) {
    const auto expected = entry["ids"].get<std::vector<TokenId>>();
    const auto prompt = entry["prompt"].get<std::string>();

    const auto ids = tokenizer_->Encode(prompt, /*add_special_tokens=*/true);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, expected) << entry["name"];
    const auto greedy = entry["greedy_ids"].get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer_->Decode(greedy, /*skip_special_tokens=*/false),
              entry["greedy_text"].get<std::string>());
  }
}

}  // namespace
}  // namespace tidal
