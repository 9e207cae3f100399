#include "server/text/stop_matcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace tidal {
namespace {

struct Outcome {
  std::string text;
  std::optional<std::string> stop;
  bool operator==(const Outcome&) const = default;
};

Outcome Feed(StopMatcher matcher, const std::vector<std::string>& deltas) {
  Outcome outcome;
  for (const std::string& delta : deltas) {
    const StopMatcher::Result result = matcher.Append(delta);
    outcome.text += result.text;
    outcome.stop = result.stop;
    if (result.stop.has_value()) return outcome;
  }
  outcome.text += matcher.Flush();
  return outcome;
}

TEST(StopMatcherTest, NoStopsHoldNothingBack) {
  StopMatcher matcher({}, false);
  EXPECT_EQ(matcher.Append("abc").text, "abc");
  EXPECT_EQ(matcher.Flush(), "");
  StopMatcher empty({""}, false);
  EXPECT_EQ(empty.Append("abc").text, "abc");
}

TEST(StopMatcherTest, WithinOneDelta) {
  EXPECT_EQ(Feed(StopMatcher({"\n\n"}, false), {"one\n\ntwo"}), (Outcome{"one", "\n\n"}));
  EXPECT_EQ(Feed(StopMatcher({"\n\n"}, true), {"one\n\ntwo"}), (Outcome{"one\n\n", "\n\n"}));
  EXPECT_EQ(Feed(StopMatcher({"one"}, false), {"one"}), (Outcome{"", "one"}));
}

TEST(StopMatcherTest, AcrossDeltas) {
  StopMatcher matcher({"STOP"}, false);
  EXPECT_EQ(matcher.Append("xST").text, "x");
  EXPECT_EQ(matcher.Append("O").text, "");
  const StopMatcher::Result result = matcher.Append("Pmore");
  EXPECT_EQ(result.text, "");
  EXPECT_EQ(result.stop, "STOP");
}

TEST(StopMatcherTest, HeldBackTextComesWhenItCannotMatch) {
  StopMatcher matcher({"STOP"}, false);
  EXPECT_EQ(matcher.Append("STO").text, "");
  EXPECT_EQ(matcher.Append("RE").text, "STORE");
  EXPECT_EQ(matcher.Append("SSST").text, "SS");
  EXPECT_EQ(matcher.Flush(), "ST");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcherTest, PrefixWithinAPrefix) {
  // After "aab" fails, "ab" of it may begin another match.
  EXPECT_EQ(Feed(StopMatcher({"aabaac"}, false), {"aabaa", "baac!"}), (Outcome{"aab", "aabaac"}));
}

TEST(StopMatcherTest, TheOneCompletedFirstWins) {
  EXPECT_EQ(Feed(StopMatcher({"bcde", "cd"}, false), {"abcdef"}), (Outcome{"ab", "cd"}));
  EXPECT_EQ(Feed(StopMatcher({"abc", "ab"}, false), {"xabc"}), (Outcome{"x", "ab"}));
  // Both end at the same character: the one listed first.
  EXPECT_EQ(Feed(StopMatcher({"c", "bc"}, false), {"abc"}), (Outcome{"ab", "c"}));
  EXPECT_EQ(Feed(StopMatcher({"bc", "c"}, false), {"abc"}), (Outcome{"a", "bc"}));
}

TEST(StopMatcherTest, CodePointsStayWhole) {
  StopMatcher matcher({"\xC3\xA9\xC3\xA8"}, false);  // é è
  EXPECT_EQ(matcher.Append("caf\xC3\xA9").text, "caf");
  EXPECT_EQ(matcher.Append("\xC3\xAA").text, "\xC3\xA9\xC3\xAA");
}

TEST(StopMatcherTest, TheCutsDoNotMatter) {
  std::mt19937 random(7);
  const auto word = [&](int length) {
    std::string text;
    for (int i = 0; i < length; ++i) text += static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (int i = random() % 3; i >= 0; --i) stops.push_back(word(1 + random() % 6));
    const std::string text = word(random() % 40);
    const bool include = random() % 2 == 0;
    std::vector<std::string> deltas, characters;
    for (size_t at = 0; at < text.size();) {
      const size_t length = std::min<size_t>(1 + random() % 7, text.size() - at);
      deltas.push_back(text.substr(at, length));
      at += length;
    }
    for (const char c : text) characters.push_back(std::string(1, c));
    const Outcome whole = Feed(StopMatcher(stops, include), {text});
    EXPECT_EQ(Feed(StopMatcher(stops, include), deltas), whole) << text;
    EXPECT_EQ(Feed(StopMatcher(stops, include), characters), whole) << text;
    // What was sent is a prefix of the text without a stop string in it.
    EXPECT_TRUE(text.starts_with(whole.text));
    if (!include) {
      for (const std::string& stop : stops) EXPECT_EQ(whole.text.find(stop), std::string::npos);
    }
    EXPECT_TRUE(whole.stop.has_value() || whole.text == text);
  }
}

}  // namespace
}  // namespace tidal
