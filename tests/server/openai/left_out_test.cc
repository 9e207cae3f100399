#include "server/openai/left_out.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

TEST(LeftOut, NamesWhatItWas) {
  LeftOut left_out;
  EXPECT_TRUE(left_out.empty());
  EXPECT_EQ(left_out.Header(), "");
  left_out.Add("tools[2]", "web_search_20250305");
  left_out.Add("input[4]", "computer-call.x");
  EXPECT_FALSE(left_out.empty());
  EXPECT_EQ(left_out.Header(), "tools[2] (web_search_20250305), input[4] (computer-call.x)");
}

TEST(LeftOut, IsFitForAHeader) {
  LeftOut left_out;
  left_out.Add("tools[0]", "a\r\nSet-Cookie: x\xff");
  left_out.Add("tools[1]", std::string(1000, 'x'));
  EXPECT_EQ(left_out.Header(),
            absl::StrCat("tools[0] (a??Set-Cookie??x?), tools[1] (", std::string(48, 'x'), ")"));
}

TEST(LeftOut, IsBounded) {
  LeftOut left_out;
  for (int i = 0; i < 1000; ++i) left_out.Add(absl::StrCat("tools[", i, "]"), "t");
  EXPECT_THAT(left_out.Header(), ::testing::EndsWith(", tools[15] (t) and 984 more"));
}

}  // namespace
}  // namespace tidal
