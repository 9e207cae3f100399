#include "server/text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidal {
namespace {

using Pieces = std::vector<std::string>;
using Prepend = PreTokenizer::Metaspace::Prepend;

Pieces Cut(const std::vector<PreTokenizer::Step>& steps, std::string_view text,
           bool at_start = true) {
  PreTokenizer pre_tokenizer;
  for (const PreTokenizer::Step& step : steps) pre_tokenizer.Add(step);
  Pieces pieces;
  EXPECT_TRUE(
      pre_tokenizer.Run(text, at_start, [&](std::string_view piece) { pieces.emplace_back(piece); })
          .ok());
  return pieces;
}

PreTokenizer::Metaspace Metaspace(Prepend prepend, bool split) { return {"_", prepend, split}; }

TEST(PreTokenizerTest, NoStep) { EXPECT_EQ(Cut({}, "a b"), Pieces{"a b"}); }

TEST(PreTokenizerTest, Metaspace) {
  EXPECT_EQ(Cut({Metaspace(Prepend::kAlways, true)}, "a b  c"), (Pieces{"_a", "_b", "_", "_c"}));
  EXPECT_EQ(Cut({Metaspace(Prepend::kAlways, false)}, "a b"), Pieces{"_a_b"});
  EXPECT_EQ(Cut({Metaspace(Prepend::kNever, true)}, "a b"), (Pieces{"a", "_b"}));
  EXPECT_EQ(Cut({Metaspace(Prepend::kAlways, false)}, " a"), Pieces{"_a"});
  EXPECT_EQ(Cut({Metaspace(Prepend::kAlways, false)}, "_a"), Pieces{"_a"});
}

TEST(PreTokenizerTest, MetaspaceWhereTheTextBegins) {
  const PreTokenizer::Metaspace first = Metaspace(Prepend::kFirst, false);
  EXPECT_EQ(Cut({first}, "a b"), Pieces{"_a_b"});
  EXPECT_EQ(Cut({first}, "a b", /*at_start=*/false), Pieces{"a_b"});
  const PreTokenizer::Split lines{Pattern::Literal("\n"), SplitBehavior::kRemoved};
  EXPECT_EQ(Cut({lines, first}, "a\nb"), (Pieces{"_a", "b"}));
  EXPECT_EQ(Cut({lines, first}, "\na"), (Pieces{"a"}));
}

TEST(PreTokenizerTest, StepsThatSeeTheAlphabet) {
  const PreTokenizer::Split at_g{Pattern::Literal("\u0120")};  // the character of a space
  EXPECT_EQ(Cut({PreTokenizer::ToByteLevel(), at_g, PreTokenizer::FromByteLevel()}, "\u00E9 b"),
            (Pieces{"\u00E9", " ", "b"}));
  EXPECT_EQ(Cut({PreTokenizer::PrefixSpace(), PreTokenizer::ToByteLevel()}, "a"), Pieces{"\u0120"
                                                                                         "a"});
}

TEST(PreTokenizerTest, APatternThatGivesUp) {
  auto endless = Pattern::Regex("(?:a|aa|aaa|b)+[cd]");
  ASSERT_TRUE(endless.ok());
  PreTokenizer pre_tokenizer;
  pre_tokenizer.Add(PreTokenizer::Split{Pattern::Literal(" ")});
  pre_tokenizer.Add(PreTokenizer::Split{*endless});
  const std::string text = "b " + std::string(2000, 'a');
  EXPECT_TRUE(absl::IsResourceExhausted(pre_tokenizer.Run(text, true, [](std::string_view) {})));
}

}  // namespace
}  // namespace tidal
