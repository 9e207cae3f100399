#include "server/grammar/token_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace tidal {
namespace {

using ::testing::ElementsAre;

constexpr int32_t kVocab = 40;  // its second word is not full

std::vector<TokenId> TokensIn(const std::vector<uint32_t>& mask) {
  std::vector<TokenId> tokens;
  for (TokenId token = 0; token < static_cast<TokenId>(32 * mask.size()); ++token) {
    if ((mask[token / 32] >> (token % 32) & 1) != 0) tokens.push_back(token);
  }
  return tokens;
}

// What may come next; empty where all may.
std::vector<TokenId> Next(TokenConstraint& constraint) {
  std::vector<uint32_t> mask(2, ~uint32_t{0});
  if (!constraint.FillMask(absl::MakeSpan(mask))) return {};
  EXPECT_THAT(TokensIn(mask), ::testing::Each(::testing::Lt(kVocab)));
  return TokensIn(mask);
}

// What may not.
std::vector<TokenId> Banned(TokenConstraint& constraint) {
  const std::vector<TokenId> next = Next(constraint);
  std::vector<TokenId> banned;
  for (TokenId token = 0; token < kVocab && !next.empty(); ++token) {
    if (std::find(next.begin(), next.end(), token) == next.end()) banned.push_back(token);
  }
  return banned;
}

std::shared_ptr<TokenFilter> Filter(const std::vector<TokenId>& allowed,
                                    std::vector<std::vector<TokenId>> bad_words) {
  auto filter = std::make_shared<TokenFilter>();
  filter->vocab_size = kVocab;
  if (!allowed.empty()) filter->allowed = MaskOf(allowed, kVocab);
  filter->bad_words = std::move(bad_words);
  return filter;
}

// A structure that wants its tokens one after the other.
class Chain : public TokenConstraint {
 public:
  explicit Chain(std::vector<std::vector<TokenId>> steps) : steps_(std::move(steps)) {}

  bool FillMask(absl::Span<uint32_t> mask) override {
    if (steps_[at_].empty()) return false;
    const std::vector<uint32_t> only = MaskOf(steps_[at_], kVocab);
    std::copy(only.begin(), only.end(), mask.begin());
    return true;
  }
  bool Accept(TokenId token) override {
    const std::vector<TokenId>& step = steps_[at_++];
    return step.empty() || std::find(step.begin(), step.end(), token) != step.end();
  }
  bool complete() const override { return at_ == steps_.size(); }

 private:
  const std::vector<std::vector<TokenId>> steps_;
  size_t at_ = 0;
};

TEST(TokenFilterTest, OnlyAllowedTokensCome) {
  const auto constraint = MakeFilterConstraint(Filter({0, 31, 39}, {}), nullptr, {}, 0);
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(Next(*constraint), ElementsAre(0, 31, 39));
    EXPECT_TRUE(constraint->Accept(31));
  }
  EXPECT_FALSE(constraint->complete());
}

TEST(TokenFilterTest, TheLastTokenOfABadWordDoesNotFollowThoseBefore) {
  const auto constraint = MakeFilterConstraint(Filter({}, {{1, 2, 3}, {2, 4}}), nullptr, {}, 0);
  EXPECT_THAT(Next(*constraint), ElementsAre()) << "all may come";
  EXPECT_TRUE(constraint->Accept(1));
  EXPECT_THAT(Next(*constraint), ElementsAre());
  EXPECT_TRUE(constraint->Accept(2));
  EXPECT_THAT(Banned(*constraint), ElementsAre(3, 4));
  EXPECT_TRUE(constraint->Accept(2));
  EXPECT_THAT(Banned(*constraint), ElementsAre(4)) << "1 is too far away";
  EXPECT_TRUE(constraint->Accept(5));
  EXPECT_THAT(Next(*constraint), ElementsAre());
}

TEST(TokenFilterTest, ABadWordOfOneTokenNeverComes) {
  const auto constraint = MakeFilterConstraint(Filter({}, {{7}, {39}}), nullptr, {}, 0);
  EXPECT_THAT(Banned(*constraint), ElementsAre(7, 39));
  EXPECT_TRUE(constraint->Accept(1));
  EXPECT_THAT(Banned(*constraint), ElementsAre(7, 39));
}

TEST(TokenFilterTest, WhereARuleWouldLeaveNothingItDoesNotCount) {
  const auto bad = MakeFilterConstraint(Filter({3, 4}, {{3}, {4}}), nullptr, {}, 0);
  EXPECT_THAT(Next(*bad), ElementsAre(3, 4)) << "allowed tokens before bad words";
  std::vector<std::vector<TokenId>> all;
  for (TokenId token = 0; token < kVocab; ++token) all.push_back({token});
  const auto none = MakeFilterConstraint(Filter({}, all), nullptr, {}, 0);
  EXPECT_THAT(Next(*none), ElementsAre()) << "all may come";
  const auto stop = MakeFilterConstraint(Filter({5}, {}), nullptr, {5}, 3);
  EXPECT_THAT(Next(*stop), ElementsAre(5));
}

TEST(TokenFilterTest, AStructureGoesFirst) {
  const auto chain =
      std::make_shared<Chain>(std::vector<std::vector<TokenId>>{{1, 2, 3}, {8, 9}, {}, {6}});
  const auto constraint = MakeFilterConstraint(Filter({1, 2, 5}, {{1}}), chain, {6}, 9);
  EXPECT_THAT(Next(*constraint), ElementsAre(2));
  EXPECT_TRUE(constraint->Accept(2));
  EXPECT_THAT(Next(*constraint), ElementsAre(8, 9)) << "it leaves none that is allowed";
  EXPECT_TRUE(constraint->Accept(9));
  EXPECT_THAT(Next(*constraint), ElementsAre(2, 5)) << "it says nothing";
  EXPECT_TRUE(constraint->Accept(5));
  EXPECT_THAT(Next(*constraint), ElementsAre(6)) << "stop tokens are its own to hold back";
  EXPECT_FALSE(constraint->complete());
  EXPECT_TRUE(constraint->Accept(6));
  EXPECT_TRUE(constraint->complete());
  const auto strict = MakeFilterConstraint(
      Filter({1}, {}), std::make_shared<Chain>(std::vector<std::vector<TokenId>>{{1}}), {}, 0);
  EXPECT_FALSE(strict->Accept(2)) << "what it refuses is refused";
}

TEST(TokenFilterTest, StopTokensWaitForTheFirstTokens) {
  const auto constraint = MakeFilterConstraint(Filter({5, 6}, {}), nullptr, {6}, 2);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(Next(*constraint), ElementsAre(5));
    EXPECT_TRUE(constraint->Accept(5));
  }
  EXPECT_THAT(Next(*constraint), ElementsAre(5, 6));
}

}  // namespace
}  // namespace tidal
