#include "server/text/split_regex.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/text/pattern.h"

namespace tidal {
namespace {

using Pieces = std::vector<std::string>;

// The matches.
Pieces Find(std::string_view pattern, std::string_view text) {
  const auto regex = SplitRegex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  Pieces pieces;
  EXPECT_TRUE(regex
                  ->ForEachMatch(text,
                                 [&](size_t begin, size_t end) {
                                   pieces.emplace_back(text.substr(begin, end - begin));
                                 })
                  .ok());
  return pieces;
}

// The matches and what is between them, none empty.
Pieces Split(std::string_view pattern, std::string_view text) {
  const auto regex = Pattern::Regex(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  Pieces pieces;
  EXPECT_TRUE(SplitText(*regex, SplitBehavior::kIsolated, /*invert=*/false, text,
                        [&](std::string_view piece) { pieces.emplace_back(piece); })
                  .ok());
  return pieces;
}

TEST(SplitRegexTest, EmptyMatches) {
  EXPECT_EQ(Find("x*", "axxb"), (Pieces{"", "xx", ""}));  // none where the x's end
  EXPECT_EQ(Find("", "a\xC3\xA9"), (Pieces{"", "", ""}));
  EXPECT_EQ(Find("$", "a\nb"), (Pieces{"", ""}));
  EXPECT_EQ(Find("(?<=a)", "aab"), (Pieces{"", ""}));
  EXPECT_EQ(Find("b|$", "ab"), (Pieces{"b"}));
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
  const absl::Status status = regex->ForEachMatch(std::string(2000, 'a'), [](size_t, size_t) {});
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

}  // namespace
}  // namespace tidal
