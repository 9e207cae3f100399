#include "server/generation/token_filter_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "server/generation/generation_request.h"
#include "tests/server/generation/service_harness.h"

namespace tidal {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

class TokenFilterRequestTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::shared_ptr<const TokenFilter>> Parse() {
    return ParseTokenFilter(sampling_, *model_);
  }
  std::vector<std::vector<TokenId>> BadWords() {
    const auto filter = Parse();
    EXPECT_TRUE(filter.ok()) << filter.status();
    return filter.ok() ? (*filter)->bad_words : std::vector<std::vector<TokenId>>();
  }
  std::string Refusal() {
    const absl::Status status = Parse().status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  }
  std::vector<TokenId> Tokens(const std::string& text) {
    return *model_->tokenizer->Encode(text, /*add_special_tokens=*/false);
  }

  const std::unique_ptr<ServedModel> model_ = MakeTestModel();
  v1::Sampling sampling_;
};

TEST_F(TokenFilterRequestTest, NothingAskedForIsNoFilter) {
  const auto filter = Parse();
  ASSERT_TRUE(filter.ok());
  EXPECT_EQ(*filter, nullptr);
}

TEST_F(TokenFilterRequestTest, AllowedTokensAreAMask) {
  for (const uint32_t id : {0, 33, 4095, 33}) sampling_.add_allowed_token_ids(id);
  const auto filter = Parse();
  ASSERT_TRUE(filter.ok()) << filter.status();
  std::vector<uint32_t> mask(4096 / 32);
  mask[0] = 1;
  mask[1] = 2;
  mask[127] = 1u << 31;
  EXPECT_EQ((*filter)->allowed, mask);
  EXPECT_EQ((*filter)->vocab_size, 4096);
}

TEST_F(TokenFilterRequestTest, BadWordsWithAndWithoutASpace) {
  sampling_.add_bad_words("Once");
  EXPECT_THAT(BadWords(), Contains(Tokens("Once")));
  EXPECT_THAT(BadWords(), Contains(Tokens(" Once")));
  sampling_.set_bad_words(0, "  Once");
  EXPECT_THAT(BadWords(), Contains(Tokens("Once")));
  EXPECT_THAT(BadWords(), Contains(Tokens(" Once")));
  EXPECT_THAT(BadWords(), Not(Contains(Tokens("  Once"))));
  sampling_.set_bad_words(0, "\n");
  EXPECT_THAT(BadWords(), Contains(Tokens("\n")));
  sampling_.set_bad_words(0, " ");
  EXPECT_EQ(BadWords(), std::vector<std::vector<TokenId>>{Tokens(" ")});
}

TEST_F(TokenFilterRequestTest, Faults) {
  sampling_.add_allowed_token_ids(1);
  sampling_.add_allowed_token_ids(4096);
  EXPECT_EQ(Refusal(), "sampling.allowed_token_ids[1]: must be below 4096, got 4096");
  sampling_.clear_allowed_token_ids();
  for (int i = 0; i < 4097; ++i) sampling_.add_allowed_token_ids(1);
  EXPECT_EQ(Refusal(), "sampling.allowed_token_ids: must have at most 4096 ids, got 4097");
  sampling_.Clear();
  sampling_.add_bad_words("x");
  sampling_.add_bad_words("");
  EXPECT_EQ(Refusal(), "sampling.bad_words[1]: must have 1 to 256 bytes, got 0");
  sampling_.set_bad_words(1, std::string(257, 'x'));
  EXPECT_EQ(Refusal(), "sampling.bad_words[1]: must have 1 to 256 bytes, got 257");
  sampling_.set_bad_words(1, "a\xff");
  EXPECT_THAT(Refusal(), HasSubstr("sampling.bad_words[1]: "));
  sampling_.Clear();
  for (int i = 0; i < 129; ++i) sampling_.add_bad_words("x");
  EXPECT_EQ(Refusal(), "sampling.bad_words: must have at most 128 texts, got 129");
}

// What a request says reaches the constraint of its sequences.
TEST_F(TokenFilterRequestTest, ARequestHasItsFilter) {
  v1::GenerateRequest request;
  request.set_text("Hello");
  EXPECT_EQ(ParseGenerationRequest(request, *model_)->filter, nullptr);
  request.mutable_sampling()->add_allowed_token_ids(5);
  const auto parsed = ParseGenerationRequest(request, *model_);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_NE(parsed->filter, nullptr);
  EXPECT_EQ(parsed->filter->allowed[0], 1u << 5);
}

}  // namespace
}  // namespace tidal
