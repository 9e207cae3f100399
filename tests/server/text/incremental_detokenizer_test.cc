#include "server/text/incremental_detokenizer.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "server/text/utf8.h"

namespace tidal {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

class IncrementalDetokenizerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tokenizer = Tokenizer::Load("models/tidal-nano");
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }
  // The token of one byte.
  TokenId Byte(char byte) const {
    for (TokenId id = 0; id < tokenizer_->vocab_size(); ++id) {
      if (!tokenizer_->IsSpecial(id) && tokenizer_->TokenBytes(id) == std::string_view(&byte, 1)) {
        return id;
      }
    }
    ADD_FAILURE() << "no token for byte " << int{byte};
    return -1;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(IncrementalDetokenizerTest, NothingUntilTheEmojiIsWhole) {
  IncrementalDetokenizer detokenizer(tokenizer_.get(), /*skip_special_tokens=*/true);
  EXPECT_EQ(detokenizer.Append(Byte('a')), "a");
  EXPECT_EQ(detokenizer.Append(Byte('\xF0')), "");
  EXPECT_EQ(detokenizer.Append(Byte('\x9F')), "");
  EXPECT_EQ(detokenizer.Append(Byte('\x98')), "");
  EXPECT_EQ(detokenizer.Append(Byte('\x80')), "\xF0\x9F\x98\x80");
  EXPECT_EQ(detokenizer.Flush(), "");
}

TEST_F(IncrementalDetokenizerTest, ABrokenCodePointIsReplacedOnce) {
  IncrementalDetokenizer detokenizer(tokenizer_.get(), /*skip_special_tokens=*/true);
  EXPECT_EQ(detokenizer.Append(Byte('\xF0')), "");
  EXPECT_EQ(detokenizer.Append(Byte('\x9F')), "");
  EXPECT_EQ(detokenizer.Append(Byte('b')), std::string(kReplacement) + "b");
  EXPECT_EQ(detokenizer.Append(Byte('\x80')), kReplacement);  // nothing it could continue
  EXPECT_EQ(detokenizer.Append(Byte('\xE2')), "");
  EXPECT_EQ(detokenizer.Append(Byte('\x82')), "");
  EXPECT_EQ(detokenizer.Flush(), kReplacement);
  EXPECT_EQ(detokenizer.Flush(), "");
}

TEST_F(IncrementalDetokenizerTest, SpecialTokens) {
  IncrementalDetokenizer skipping(tokenizer_.get(), /*skip_special_tokens=*/true);
  IncrementalDetokenizer showing(tokenizer_.get(), /*skip_special_tokens=*/false);
  const TokenId end = *tokenizer_->TokenToId("<|end|>");
  EXPECT_EQ(skipping.Append(end), "");
  EXPECT_EQ(showing.Append(end), "<|end|>");
  EXPECT_EQ(showing.Append(-1), "");
  EXPECT_EQ(showing.Append(tokenizer_->vocab_size()), "");
}

TEST_F(IncrementalDetokenizerTest, AnyTokensGiveWhatDecodeGives) {
  std::mt19937 random(20417);
  for (int round = 0; round < 2000; ++round) {
    const bool skip = round % 2 == 0;
    std::vector<TokenId> ids;
    for (int i = random() % 20; i >= 0; --i) {
      // Mostly the tokens of single bytes, so that code points break in every way.
      const TokenId limit = random() % 4 == 0 ? tokenizer_->vocab_size() + 10 : 264;
      ids.push_back(static_cast<TokenId>(random() % limit));
    }
    IncrementalDetokenizer detokenizer(tokenizer_.get(), skip);
    std::string text;
    for (const TokenId id : ids) {
      const std::string piece = detokenizer.Append(id);
      EXPECT_FALSE(FindInvalidUtf8(piece).has_value());
      text += piece;
    }
    text += detokenizer.Flush();
    EXPECT_EQ(text, tokenizer_->Decode(ids, skip));
    EXPECT_FALSE(FindInvalidUtf8(text).has_value());
  }
}

}  // namespace
}  // namespace tidal
