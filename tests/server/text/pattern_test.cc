#include "server/text/pattern.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidal {
namespace {

using Pieces = std::vector<std::string>;

Pattern Regex(std::string_view text) {
  auto pattern = Pattern::Regex(text);
  EXPECT_TRUE(pattern.ok()) << pattern.status();
  return *std::move(pattern);
}

Pieces Split(const Pattern& pattern, SplitBehavior behavior, bool invert, std::string_view text) {
  Pieces pieces;
  EXPECT_TRUE(SplitText(pattern, behavior, invert, text, [&](std::string_view piece) {
                pieces.emplace_back(piece);
              }).ok());
  return pieces;
}

TEST(PatternTest, EveryBehavior) {
  const Pattern dash = Pattern::Literal("-");
  const std::string_view text = "the-final--countdown-";
  EXPECT_EQ(Split(dash, SplitBehavior::kRemoved, false, text),
            (Pieces{"the", "final", "countdown"}));
  EXPECT_EQ(Split(dash, SplitBehavior::kIsolated, false, text),
            (Pieces{"the", "-", "final", "-", "-", "countdown", "-"}));
  EXPECT_EQ(Split(dash, SplitBehavior::kMergedWithPrevious, false, text),
            (Pieces{"the-", "final-", "-", "countdown-"}));
  EXPECT_EQ(Split(dash, SplitBehavior::kMergedWithNext, false, text),
            (Pieces{"the", "-final", "-", "-countdown", "-"}));
  EXPECT_EQ(Split(dash, SplitBehavior::kContiguous, false, text),
            (Pieces{"the", "-", "final", "--", "countdown", "-"}));
}

TEST(PatternTest, Inverted) {
  const Pattern word = Regex("\\p{L}+");
  EXPECT_EQ(Split(word, SplitBehavior::kRemoved, true, " a, bc!"), (Pieces{"a", "bc"}));
  EXPECT_EQ(Split(word, SplitBehavior::kMergedWithNext, true, " a, bc!"),
            (Pieces{" a", ", bc", "!"}));
  EXPECT_EQ(Split(Pattern::Literal("a"), SplitBehavior::kContiguous, true, "aab"),
            (Pieces{"aa", "b"}));
}

TEST(PatternTest, NothingToSplit) {
  for (const SplitBehavior behavior : {SplitBehavior::kRemoved, SplitBehavior::kContiguous}) {
    EXPECT_EQ(Split(Pattern::Literal("-"), behavior, false, ""), Pieces{});
    EXPECT_EQ(Split(Pattern::Literal("-"), behavior, false, "a"), Pieces{"a"});
  }
  EXPECT_EQ(Split(Pattern::Literal("-"), SplitBehavior::kRemoved, false, "--"), Pieces{});
}

TEST(PatternTest, ALiteralIsFoundAsItIs) {
  for (const std::string text : {".", "\\", "[x]", "a|b", "(", "^$", "{2}", " ", "\xC3\xA9", "-"}) {
    EXPECT_EQ(*Pattern::Literal(text).ReplaceAll("x" + text + text, "_"), "x__");
    EXPECT_EQ(*Pattern::Literal(text).ReplaceAll("xyz", "_"), "xyz");
  }
  EXPECT_EQ(*Pattern::Literal("aa").ReplaceAll("aaaaa", "b"), "bba");
}

TEST(PatternTest, EmptyMatchesAreReplacedToo) {
  EXPECT_EQ(*Regex("").ReplaceAll("ab", "-"), "-a-b-");
  EXPECT_EQ(*Regex("x*").ReplaceAll("axb", "-"), "-a-b-");
  EXPECT_EQ(*Regex("$").ReplaceAll("a", "!"), "a!");
  EXPECT_EQ(*Regex("").ReplaceAll("", "-"), "");
}

}  // namespace
}  // namespace tidal
