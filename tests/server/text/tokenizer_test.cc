#include "server/text/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

namespace tidal {
namespace {

using Json = nlohmann::json;

Json ReadJsonFile(const std::string& path) {
  std::ifstream file(path);
  return Json::parse(file, nullptr, /*allow_exceptions=*/false);
}

// A whole tokenizer.json of a few tokens.
Json SmallConfig() {
  return Json::parse(R"({
    "added_tokens": [{"id": 6, "content": "<s>", "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
      "special_tokens": {"<s>": {"ids": [6]}}},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġa": 4, "aa": 5},
              "merges": ["a b", "Ġ a", "a a"]}})");
}

std::unique_ptr<Tokenizer> Make(const Json& config) {
  auto tokenizer = Tokenizer::FromJson(config.dump());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

using Ids = std::vector<TokenId>;

TEST(TokenizerTest, Variants) {
  const Json variants = ReadJsonFile("tests/server/text/tokenizer_variants.json");
  ASSERT_TRUE(variants.is_array());
  ASSERT_GE(variants.size(), 10u);
  for (const Json& variant : variants) {
    SCOPED_TRACE(variant["name"].get<std::string>());
    const auto tokenizer = Make(variant["config"]);
    ASSERT_NE(tokenizer, nullptr);
    for (const Json& test : variant["cases"]) {
      const auto ids = tokenizer->Encode(test[0].get<std::string>(), /*add_special_tokens=*/true);
      ASSERT_TRUE(ids.ok()) << ids.status();
      EXPECT_EQ(*ids, test[1].get<Ids>()) << test[0];
      EXPECT_EQ(tokenizer->Decode(*ids, /*skip_special_tokens=*/false), test[2].get<std::string>());
    }
  }
}

TEST(TokenizerTest, Small) {
  const auto tokenizer = Make(SmallConfig());
  EXPECT_EQ(*tokenizer->Encode("ab aab<s>b", false), (Ids{2, 4, 2, 6, 1}));
  EXPECT_EQ(*tokenizer->Encode("", true), (Ids{6}));
  EXPECT_EQ(*tokenizer->Encode("", false), Ids{});
  EXPECT_EQ(tokenizer->vocab_size(), 7);
  EXPECT_EQ(tokenizer->TokenBytes(4), " a");
  EXPECT_EQ(tokenizer->TokenBytes(7), "");
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
  EXPECT_TRUE(tokenizer->IsSpecial(6));
  EXPECT_FALSE(tokenizer->IsSpecial(5));
  EXPECT_FALSE(tokenizer->IsSpecial(1000));
  EXPECT_EQ(tokenizer->TokenToId("<s>"), 6);
  EXPECT_EQ(tokenizer->TokenToId("Ġa"), 4);
  EXPECT_EQ(tokenizer->TokenToId("nope"), std::nullopt);
  EXPECT_EQ(tokenizer->Decode(Ids{6, 2, 4, 99, -5}, true), "ab a");
  EXPECT_EQ(tokenizer->Decode(Ids{6, 2, 4, 99, -5}, false), "<s>ab a");
}

TEST(TokenizerTest, InvalidUtf8HasItsOffset) {
  const auto tokenizer = Make(SmallConfig());
  for (const std::string tail : {"\xFF", "\xC3", "\xC0\x80", "\xED\xA0\x80", "\xF5\x80\x80\x80"}) {
    const auto ids = tokenizer->Encode("aaaaaaaaa\xC3\xA9" + tail, true);
    EXPECT_TRUE(absl::IsInvalidArgument(ids.status()));
    EXPECT_NE(std::string(ids.status().message()).find("offset 11"), std::string::npos)
        << ids.status();
  }
}

TEST(TokenizerTest, LongRunsOfOneCharacter) {
  auto tokenizer = Tokenizer::Load("models/tidal-nano");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  constexpr size_t kBytes = 1 << 20;
  for (const std::string unit :
       {"a", " ", "=", "\n", "ab", "\xC3\xA9", "<", "<|end|>", "<|end|", "1", " \n", "' "}) {
    std::string text;
    while (text.size() < kBytes) text += unit;
    const auto ids = (*tokenizer)->Encode(text, false);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ((*tokenizer)->Decode(*ids, false), text);
  }
}

// As SentencePiece has it: characters with byte fallback, no pre-tokenizer at all.
TEST(TokenizerTest, LongTextsInOnePiece) {
  Json config = SmallConfig();
  config["normalizer"] = {
      {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
  config["pre_tokenizer"] = nullptr;
  config["decoder"] = {{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}};
  config["model"]["vocab"] = {{"a", 0},  {"b", 1},       {"ab", 2},           {"\u2581", 3},
                              {"aa", 4}, {"aaaa", 5},    {"\u2581a", 7},      {"\u2581\u2581", 8},
                              {"ba", 9}, {"\u00E9", 10}, {"\u00E9\u00E9", 11}};
  config["model"]["merges"] = {"a b",           "a a", "aa aa",        "\u2581 a",
                               "\u2581 \u2581", "b a", "\u00E9 \u00E9"};
  const auto tokenizer = Make(config);
  ASSERT_NE(tokenizer, nullptr);
  constexpr size_t kBytes = 1 << 20;
  for (const std::string unit : {"a", " ", "ab", "\u00E9", "a ", "ab ", "aab\u00E9 "}) {
    std::string text;
    while (text.size() < kBytes) text += unit;
    const auto ids = tokenizer->Encode(text, false);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(tokenizer->Decode(*ids, false), text);
  }
}

TEST(TokenizerTest, AWhiteSpaceTokenGivesBackWhatRstripTook) {
  Json config = SmallConfig();
  config["post_processor"] = nullptr;
  config["added_tokens"] = {{{"id", 6}, {"content", "<s>"}, {"rstrip", true}},
                            {{"id", 7}, {"content", "\n"}}};
  EXPECT_EQ(*Make(config)->Encode("<s> a", false), (Ids{6, 0}));
  EXPECT_EQ(*Make(config)->Encode("<s>\n a", false), (Ids{6, 7, 4}));  // the library's ids
}

TEST(TokenizerTest, ManyTokensThatTakeTheSameWhiteSpace) {
  Json config = SmallConfig();
  config["post_processor"] = nullptr;
  config["added_tokens"] = {{{"id", 6}, {"content", "\n"}, {"rstrip", true}, {"lstrip", true}}};
  const size_t kLines = 1 << 20;
  const auto ids = Make(config)->Encode(std::string(kLines, '\n') + "a", false);
  ASSERT_TRUE(ids.ok()) << ids.status();
  Ids expected(kLines, 6);
  expected.push_back(0);
  EXPECT_TRUE(*ids == expected);
}

TEST(TokenizerTest, ManyThreadsShareOne) {
  auto tokenizer = Tokenizer::Load("models/tidal-nano");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::string text = "It's 3 o'clock \xF0\x9F\x98\x80 <|end|>\n\n  and all is well.";
  const Ids expected = *(*tokenizer)->Encode(text, true);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (size_t i = 0; i < wrong.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 300; ++round) {
        const auto ids = (*tokenizer)->Encode(text, true);
        wrong[i] += !ids.ok() || *ids != expected;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(TokenizerTest, LoadNamesTheFile) {
  EXPECT_TRUE(absl::IsNotFound(Tokenizer::Load("no/such/folder").status()));
}

}  // namespace
}  // namespace tidal
