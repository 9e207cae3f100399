// Documents that are not a tokenizer.json, nearly one, or one of a kind that is not supported.
#include "server/text/tokenizer_config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "server/text/tokenizer.h"

namespace tidal {
namespace {

using Json = nlohmann::json;

Json GoodConfig() {
  return Json::parse(R"({
    "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s+"}, "behavior": "Isolated"},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
      "special_tokens": {"<s>": {"ids": [3]}}},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

TEST(TokenizerConfigTest, Good) { EXPECT_TRUE(Tokenizer::FromJson(GoodConfig().dump()).ok()); }

TEST(TokenizerConfigTest, TheMessageNamesTheField) {
  struct Test {
    const char* pointer;  // where the value goes
    Json value;
    const char* message;  // how the complaint begins
  };
  const Test tests[] = {
      {"/model", nullptr, "model: must be an object, got nothing"},
      {"/model/type", "WordPiece", "model.type: must be \"BPE\", got \"WordPiece\""},
      {"/model/vocab", Json::array(), "model.vocab: must be an object, got an array of 0"},
      {"/model/vocab", Json::object(), "model.merges[0]: must be two tokens"},
      {"/model/vocab/a", -1, "model.vocab[\"a\"]: must be an integer from 0"},
      {"/model/vocab/a", 1e30, "model.vocab[\"a\"]: must be an integer from 0"},
      {"/model/vocab/a", 4000000000u, "model.vocab[\"a\"]: must be an integer from 0"},
      {"/model/vocab/a", "0", "model.vocab[\"a\"]: must be an integer from 0"},
      {"/model/vocab/b", 0, "model.vocab[\"b\"]: must be an id that no other token has"},
      {"/model/merges", nullptr, "model.merges: must be an array"},
      {"/model/merges/0", "ab", "model.merges[0]: must be two tokens"},
      {"/model/merges/0", "a b c", "model.merges[0]: must be two tokens"},
      {"/model/merges/0", Json::array({"a"}), "model.merges[0]: must be two tokens"},
      {"/model/merges/0", Json::array({"a", 1}), "model.merges[0]: must be two tokens"},
      {"/model/merges/0", "b a", "model.merges[0]: must be two tokens of the vocabulary"},
      {"/model/byte_fallback", 1, "model.byte_fallback: must be true or false"},
      {"/model/fuse_unk", 1, "model.fuse_unk: must be true or false"},
      {"/model/ignore_merges", "yes", "model.ignore_merges: must be true or false"},
      {"/model/unk_token", "<unk>", "model.unk_token: must be a token of the vocabulary"},
      {"/model/dropout", 0.1, "model.dropout: must be null"},
      {"/model/type", "Unigram", "model.type: must be \"BPE\", got \"Unigram\""},
      {"/model/end_of_word_suffix", 5, "model.end_of_word_suffix: must be a string"},
      {"/normalizer", Json::object({{"type", "Nmt"}}), "normalizer.type: must be \"NFC\""},
      {"/normalizer", 5, "normalizer: must be an object, got 5"},
      {"/normalizer", {{"type", "Prepend"}}, "normalizer.prepend: must be a string"},
      {"/normalizer",
       {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(4000, 'b')}},
       "normalizer.content: must be shorter: all replacements together"},
      {"/pre_tokenizer/pretokenizers", 3, "pre_tokenizer.pretokenizers: must be an array"},
      {"/pre_tokenizer/pretokenizers/0/type", "BertPreTokenizer",
       "pre_tokenizer.pretokenizers[0].type: must be \"ByteLevel\""},
      {"/pre_tokenizer/pretokenizers/0/type", "ByteLevel",
       "pre_tokenizer.pretokenizers[1].type: must be \"ByteLevel\" once"},
      {"/pre_tokenizer/pretokenizers/0/behavior", "Dropped",
       "pre_tokenizer.pretokenizers[0].behavior: must be \"Removed\""},
      {"/pre_tokenizer",
       {{"type", "Metaspace"}, {"replacement", "ab"}},
       "pre_tokenizer.replacement: must be one character, got \"ab\""},
      {"/pre_tokenizer",
       {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}},
       "pre_tokenizer.prepend_scheme: must be \"always\", \"never\" or \"first\""},
      {"/pre_tokenizer/pretokenizers/0/pattern", "x",
       "pre_tokenizer.pretokenizers[0].pattern: must be a Regex or String"},
      {"/pre_tokenizer/pretokenizers/0/pattern/Regex", "(",
       "pre_tokenizer.pretokenizers[0].pattern.Regex: "},
      {"/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\w+",
       "pre_tokenizer.pretokenizers[0].pattern.Regex: must be a pattern whose meaning is known"},
      {"/pre_tokenizer/pretokenizers/1/type", "Metaspace",
       "pre_tokenizer.pretokenizers[1].replacement: must be a string"},
      {"/post_processor/type", "RobertaProcessing", "post_processor.cls: must be an array"},
      {"/post_processor/type", "Other", "post_processor.type: must be"},
      {"/post_processor/single", 1, "post_processor.single: must be an array"},
      {"/post_processor/single/0/SpecialToken/id", "<t>",
       "post_processor.special_tokens.<t>.ids: must be an array"},
      {"/post_processor/special_tokens/<s>/ids/0", 77, "post_processor: must add ids"},
      {"/post_processor/special_tokens/<s>/ids/0", "x",
       "post_processor.special_tokens.<s>.ids[0]: must be an integer"},
      {"/decoder", {{"type", "Strip"}, {"content", " "}}, "decoder.start: must be an integer"},
      {"/decoder", {{"type", "BPEDecoder"}, {"suffix", ""}}, "decoder.suffix: must be a string"},
      {"/decoder",
       {{"type", "Sequence"}, {"decoders", {{{"type", "Fuse"}}, {{"type", "ByteFallback"}}}}},
       "decoder.decoders[1].type: must be before ByteLevel and Fuse"},
      {"/decoder/type", "WordPiece", "decoder.type: must be \"ByteLevel\", \"BPEDecoder\", "},
      {"/added_tokens", 5, "added_tokens: must be an array"},
      {"/added_tokens/0", "x", "added_tokens[0]: must be an object"},
      {"/added_tokens/0/id", 1, "added_tokens: must give each token an id of its own"},
      {"/added_tokens/0/id", 1 << 30, "added_tokens[0].id: must be an integer from 0"},
      {"/added_tokens/0/content", "ab", "added_tokens: must give \"ab\" its id 2, got 3"},
      {"/added_tokens/0/content", 5, "added_tokens[0].content: must be a string"},
      {"/added_tokens/1",
       {{"id", 4}, {"content", "<s>"}},
       "added_tokens[1].id: must be the id that the same content had before, got 4"},
      {"/added_tokens/0/lstrip", "x", "added_tokens[0].lstrip: must be true or false"},
  };
  for (const Test& test : tests) {
    Json config = GoodConfig();
    config[Json::json_pointer(test.pointer)] = test.value;
    const absl::Status status = Tokenizer::FromJson(config.dump()).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << test.pointer;
    EXPECT_TRUE(std::string(status.message()).starts_with(test.message))
        << test.pointer << ": " << status.message();
  }
}

TEST(TokenizerConfigTest, GapsInTheIdsAreFine) {
  Json config = GoodConfig();
  config["added_tokens"][0]["id"] = 1000;
  config["post_processor"] = nullptr;
  const auto tokenizer = Tokenizer::FromJson(config.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 1001);
  EXPECT_EQ((*tokenizer)->TokenBytes(500), "");
  EXPECT_EQ((*tokenizer)->Decode(std::vector<TokenId>{0, 500, 1000}, false), "a<s>");
}

TEST(TokenizerConfigTest, AddedTokensDifferOnceNormalized) {
  Json config = GoodConfig();
  config["normalizer"] = {{"type", "Lowercase"}};
  config["added_tokens"] = {{{"id", 3}, {"content", "<s>"}, {"normalized", true}},
                            {{"id", 4}, {"content", "<S>"}, {"normalized", true}}};
  const absl::Status status = Tokenizer::FromJson(config.dump()).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_TRUE(std::string(status.message()).starts_with("added_tokens: must be different"))
      << status;
  config["added_tokens"][1]["normalized"] = false;
  EXPECT_TRUE(Tokenizer::FromJson(config.dump()).ok());
}

TEST(TokenizerConfigTest, FirstNeedsTheTextAsItWas) {
  Json config = GoodConfig();
  config["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "first"}};
  EXPECT_TRUE(Tokenizer::FromJson(config.dump()).ok());
  config["normalizer"] = {{"type", "NFC"}};
  EXPECT_TRUE(absl::IsInvalidArgument(Tokenizer::FromJson(config.dump()).status()));
}

TEST(TokenizerConfigTest, NotJson) {
  const std::string deep(100'000, '[');
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("\xFF"),
        std::string("null"), deep, deep + std::string(100'000, ']')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Tokenizer::FromJson(text).status()));
  }
}

// Every value of the document replaced by every kind of value, and every member left out.
TEST(TokenizerConfigTest, AnythingAnywhereNeverCrashes) {
  const Json replacements[] = {nullptr,
                               true,
                               -1,
                               1e300,
                               "x",
                               "",
                               Json::array(),
                               Json::object(),
                               Json::array({1, "a", nullptr}),
                               std::string(5000, 'y'),
                               4294967295u};
  const Json flat = GoodConfig().flatten();
  int accepted = 0;
  for (const auto& [pointer, unused] : flat.items()) {
    for (Json::json_pointer at(pointer); !at.empty(); at.pop_back()) {
      for (const Json& replacement : replacements) {
        Json config = GoodConfig();
        config[at] = replacement;
        const auto tokenizer = Tokenizer::FromJson(config.dump());
        if (!tokenizer.ok()) continue;
        ++accepted;
        EXPECT_TRUE((*tokenizer)->Encode("ab <s> ba", true).ok());
      }
      Json config = GoodConfig();
      Json& parent = config[at.parent_pointer()];
      if (parent.is_object()) parent.erase(at.back());
      (void)Tokenizer::FromJson(config.dump());
    }
  }
  EXPECT_GT(accepted, 0);  // a version or an id may well be another
}

TEST(TokenizerConfigTest, TruncatedAndFlippedBytesNeverCrash) {
  const std::string good = GoodConfig().dump();
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(Tokenizer::FromJson(good.substr(0, length)).ok());
  }
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    for (int i = random() % 4; i >= 0; --i) text[random() % text.size()] ^= 1 << (random() % 7);
    const auto tokenizer = Tokenizer::FromJson(text);
    if (tokenizer.ok()) (void)(*tokenizer)->Encode("ab <s> ba", true);
  }
}

}  // namespace
}  // namespace tidal
