// The text of a custom tool's call comes out as it goes in, however its arguments are cut.
#include "server/responses/custom_input.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/string_view.h"

namespace tidal {
namespace {

struct InputCase {
  const char *arguments, *text;
  bool streams;  // something comes before the end
};

constexpr InputCase kInputCases[] = {
    {R"({"input":"*** Begin Patch"})", "*** Begin Patch", true},
    {"{ \"input\" :\n \"a\\n\\\"b\\\"\\t\\\\ \\u00e9 \\ud83d\\ude00 \xC3\xA9\" }",
     "a\n\"b\"\t\\ \xC3\xA9 \xF0\x9F\x98\x80 \xC3\xA9", true},
    {R"({"input":""})", "", false},
    {R"({"input":"cut in the mid)", "cut in the mid", true},
    {R"({"input":"a", "more": {"x": 1}})", "a", true},
    // Not as asked for: the text where there is one, else what the model wrote.
    {R"({"more": 1, "input": "b"})", "b", false},
    {R"("plain")", "plain", false},
    {R"({"in put": "c"})", R"({"in put": "c"})", false},
    {R"({"input": 5})", R"({"input": 5})", false},
    {"*** no JSON", "*** no JSON", false},
    {"{\"inp", "{\"inp", false},
    {"", "", false},
};

TEST(CustomInput, AnyCutGivesTheSame) {
  for (const InputCase& test : kInputCases) {
    const absl::string_view all = test.arguments;
    for (size_t size = 1; size <= all.size() + 1; ++size) {
      CustomInput input;
      std::string text;
      for (size_t at = 0; at < all.size(); at += size) text += input.Append(all.substr(at, size));
      EXPECT_EQ(!text.empty(), test.streams) << test.arguments << " by " << size;
      text += input.Finish();
      EXPECT_EQ(text, test.text) << test.arguments << " by " << size;
    }
  }
}

TEST(CustomInput, WhatIsClearComesAtOnce) {
  CustomInput input;
  EXPECT_EQ(input.Append("{\"input\": \"one "), "one ");
  EXPECT_EQ(input.Append("two\\"), "two");
  EXPECT_EQ(input.Append("n"), "\n");
  EXPECT_EQ(input.Append("three\"}"), "three");
  EXPECT_EQ(input.Finish(), "");
}

}  // namespace
}  // namespace tidal
