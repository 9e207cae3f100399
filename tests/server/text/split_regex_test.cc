#include "server/text/split_regex.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidal {
namespace {

using Pieces = std::vector<std::string>;

Pieces Split(std::string_view pattern, std::string_view text) {
  const auto regex = SplitRegex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  Pieces pieces;
  EXPECT_TRUE(regex->Split(text, [&](std::string_view piece) { pieces.emplace_back(piece); }).ok());
  return pieces;
}

TEST(SplitRegexTest, MatchesAndWhatIsBetween) {
  EXPECT_EQ(Split("\\d+", "ab12cd3"), (Pieces{"ab", "12", "cd", "3"}));
  EXPECT_EQ(Split("\\d+", "abc"), (Pieces{"abc"}));
  EXPECT_EQ(Split("\\d+", ""), Pieces{});
  EXPECT_EQ(Split("x*", "axb"), (Pieces{"a", "x", "b"}));
  EXPECT_EQ(Split("", "a\xC3\xA9"), (Pieces{"a", "\xC3\xA9"}));
  EXPECT_EQ(Split("\\s+(?!\\S)|\\s+", "a   b "), (Pieces{"a", "  ", " ", "b", " "}));
}

TEST(SplitRegexTest, Unicode) {
  EXPECT_EQ(Split("\\s",
                  "a\xE1\xA0\x8E"
                  "b"),
            (Pieces{"a\xE1\xA0\x8E"
                    "b"}));  // U+180E is no space
  EXPECT_EQ(Split("\\S+", "\xE2\x80\x83x\xC2\x85y"),
            (Pieces{"\xE2\x80\x83", "x", "\xC2\x85", "y"}));
  EXPECT_EQ(Split("[\\S]", "a \xE1\xA0\x8E"), (Pieces{"a", " ", "\xE1\xA0\x8E"}));
  EXPECT_EQ(Split("\\p{L}",
                  "1\xF0\xB1\x8D\x90"
                  "2"),
            (Pieces{"1", "\xF0\xB1\x8D\x90", "2"}));  // U+31350
  EXPECT_EQ(Split("[^\\p{L}]", "a1"), (Pieces{"a", "1"}));
  EXPECT_EQ(Split("\\P{L}+", "a12b"), (Pieces{"a", "12", "b"}));
  EXPECT_EQ(Split("(?i:'s)", "'S '\xC5\xBF"), (Pieces{"'S", " ", "'\xC5\xBF"}));  // long s
}

TEST(SplitRegexTest, Literals) {
  for (const std::string text : {".", "\\", "[x]", "a|b", "(", "^$", "{2}", " ", "\xC3\xA9", "-"}) {
    const auto regex = SplitRegex::Literal(text);
    ASSERT_TRUE(regex.ok()) << regex.status();
    EXPECT_TRUE(regex->Matches(text));
    EXPECT_FALSE(regex->Matches(text + "x"));
    EXPECT_FALSE(regex->Matches("y"));
  }
}

TEST(SplitRegexTest, Translation) {
  EXPECT_EQ(*TranslateOniguruma("a{,3}b{2}c{d"), "a{0,3}b{2}c\\{d");
  EXPECT_EQ(*TranslateOniguruma("\\u4E2D\\n\\["), "\\x{4E2D}\\n\\[");
  EXPECT_EQ(*TranslateOniguruma("(?i:x)(?=y)(?!z)(?<=a)(?<!b)(?>c)(d)"),
            "(?i:x)(?=y)(?!z)(?<=a)(?<!b)(?>c)(d)");
  EXPECT_EQ(*TranslateOniguruma("^x$"), "(?m:^)x(?m:$)");
  EXPECT_EQ(*TranslateOniguruma("[\\p{Zs}^$(]"), "[\\p{Zs}^$(]");
}

TEST(SplitRegexTest, WhatIsNotKnownIsRefused) {
  for (const char* pattern :
       {"\\w",     "\\b",   "\\h",      "\\K",       "\\X",    "\\1",         "\\k<a>",
        "(?<a>x)", "(?m)x", "x(?i)y",   "(*FAIL)",   "[a[b]]", "[[:alpha:]]", "[a&&b]",
        "[",       "[]a]",  "[\\P{L}]", "\\p{Nope}", "\\p",    "\\p{L",       "\\u12",
        "a{2}+",   "a{2}?", "{,}",      "\\"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(SplitRegex::Compile(pattern).status())) << pattern;
  }
}

TEST(SplitRegexTest, EndlessBacktrackingEnds) {
  const auto regex = SplitRegex::Compile("(?:a|aa|aaa|b)+[cd]");
  ASSERT_TRUE(regex.ok());
  const absl::Status status = regex->Split(std::string(2000, 'a'), [](std::string_view) {});
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

}  // namespace
}  // namespace tidal
