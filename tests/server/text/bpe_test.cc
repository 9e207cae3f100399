// What tokenizer_parity_test.py cannot show: bounds, and the parts that only few tokenizers use.
#include "server/text/bpe.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

namespace tidal {
namespace {

using Ids = std::vector<TokenId>;

BpeConfig Characters(std::vector<std::string> tokens) {
  BpeConfig config;
  for (std::string& token : tokens) {
    config.vocab.emplace_back(std::move(token), static_cast<TokenId>(config.vocab.size()));
  }
  return config;
}

Ids Encode(const BpeConfig& config, std::string_view piece) {
  const auto bpe = Bpe::Make(config);
  EXPECT_TRUE(bpe.ok()) << bpe.status();
  Ids ids;
  bpe->Encode(piece, &ids);
  return ids;
}

TEST(BpeTest, UnknownUnits) {
  BpeConfig config = Characters({"a", "<unk>"});
  EXPECT_EQ(Encode(config, "axya"), (Ids{0, 0}));
  config.unk_token = std::string("<unk>");
  EXPECT_EQ(Encode(config, "axya"), (Ids{0, 1, 1, 0}));
  config.fuse_unk = true;
  EXPECT_EQ(Encode(config, "axya"), (Ids{0, 1, 0}));
  config.unk_token = std::string("<none>");
  EXPECT_TRUE(absl::IsInvalidArgument(Bpe::Make(config).status()));
}

TEST(BpeTest, ByteFallbackNeedsEveryByte) {
  BpeConfig config = Characters({"a", "<unk>", "<0xC3>", "<0xA9>"});
  config.byte_fallback = true;
  config.unk_token = std::string("<unk>");
  EXPECT_EQ(Encode(config, "\u00E9a"), (Ids{2, 3, 0}));
  EXPECT_EQ(Encode(config, "\u00E8a"), (Ids{1, 0}));
  EXPECT_EQ(Encode(config, "\u00E8\u00E9a"), (Ids{2, 3, 1, 0}));  // the library's order
}

TEST(BpeTest, Affixes) {
  BpeConfig config = Characters({"a", "##b", "ab", "##b$", "a$", "ab$"});
  config.continuing_subword_prefix = std::string("##");
  config.end_of_word_suffix = std::string("$");
  config.merges = {{"a", "##b"}, {"a", "##b$"}};
  EXPECT_EQ(Encode(config, "ab"), (Ids{5}));
  EXPECT_EQ(Encode(config, "a"), (Ids{4}));
  EXPECT_EQ(Encode(config, "abb"), (Ids{2, 3}));
  config.merges = {{"a", "a"}};  // its second token is shorter than the prefix
  EXPECT_TRUE(absl::IsInvalidArgument(Bpe::Make(config).status()));
}

TEST(BpeTest, WholePiecesBeforeMerges) {
  BpeConfig config = Characters({"a", "b", "c", "abc", "ab"});
  config.merges = {{"a", "b"}};
  EXPECT_EQ(Encode(config, "abc"), (Ids{4, 2}));
  config.ignore_merges = true;
  EXPECT_EQ(Encode(config, "abc"), (Ids{3}));
  EXPECT_EQ(Encode(config, "abcc"), (Ids{4, 2, 2}));
}

// Cutting a piece where no merge can join, and the merging of few and of many symbols, against
// merging by hand.
TEST(BpeTest, AnyPieceAsByHand) {
  BpeConfig config =
      Characters({"a", "b", "\u00E9", "ab", "ba", "aa", "aba", "abab", "baa", "\u00E9a"});
  config.merges = {{"ab", "a"},  {"b", "a"},  {"a", "b"},     {"a", "a"},
                   {"ab", "ab"}, {"b", "aa"}, {"\u00E9", "a"}};
  std::mt19937 random(3);
  const auto bpe = Bpe::Make(config);
  ASSERT_TRUE(bpe.ok()) << bpe.status();
  for (int round = 0; round < 1000; ++round) {
    std::string piece;
    std::vector<std::string> symbols;
    for (int i = random() % 120; i >= 0; --i) {
      symbols.push_back(config.vocab[random() % (round % 2 ? 2 : 3)].first);
      piece += symbols.back();
    }
    for (bool merged = true; merged;) {
      merged = false;
      for (size_t rank = 0; rank < config.merges.size() && !merged; ++rank) {
        for (size_t i = 0; i + 1 < symbols.size() && !merged; ++i) {
          if (std::pair(symbols[i], symbols[i + 1]) != config.merges[rank]) continue;
          symbols[i].append(symbols[i + 1]);
          symbols.erase(symbols.begin() + i + 1);
          merged = true;
        }
      }
    }
    Ids ids;
    bpe->Encode(piece, &ids);
    std::vector<std::string> tokens;
    for (const TokenId id : ids) tokens.push_back(config.vocab[id].first);
    EXPECT_EQ(tokens, symbols) << piece;
  }
}

}  // namespace
}  // namespace tidal
