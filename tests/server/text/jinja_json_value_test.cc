#include <gtest/gtest.h>

#include <string>

#include "server/text/jinja/json_value.h"

namespace tidal::jinja {
namespace {

std::string Error(const std::string& text) {
  return std::string(ParseJson(text).status().message());
}

TEST(JinjaJsonValueTest, KeepsOrderTypesAndTheLastOfADouble) {
  const auto value = ParseJson(R"( {"z": 1, "a": [2.0, -3, true, null, "\u00e9"], "z": {}} )");
  ASSERT_TRUE(value.ok()) << value.status();
  const auto& entries = value->dict().entries();
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].first.string(), "z");
  EXPECT_TRUE(entries[0].second.is_dict());
  const auto& items = entries[1].second.items();
  EXPECT_TRUE(items[0].is_float());
  EXPECT_EQ(items[1].integer(), -3);
  EXPECT_TRUE(items[2].is_bool());
  EXPECT_TRUE(items[3].is_none());
  EXPECT_EQ(items[4].string(), "\xC3\xA9");
}

TEST(JinjaJsonValueTest, Refuses) {
  EXPECT_EQ(Error("{\"a\": }"), "must be valid JSON in UTF-8, got an error at byte 7");
  for (const char* text : {"", "1 2", "{'a': 1}", "NaN", "\"\xFF\"", R"("\ud800")", "1e999"}) {
    EXPECT_TRUE(Error(text).starts_with("must be valid JSON")) << text << Error(text);
  }
  EXPECT_EQ(ParseJson("9223372036854775807")->integer(), 9223372036854775807);
  EXPECT_EQ(ParseJson("-9223372036854775808")->integer(), INT64_MIN);
  for (const char* text :
       {"9223372036854775808", "-9223372036854775809", "123456789012345678901234567890"}) {
    EXPECT_EQ(Error(text), "must have integers of at most 64 bits, got a larger one") << text;
  }
}

TEST(JinjaJsonValueTest, Depth) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(ParseJson(nested(kMaxJsonDepth)).ok());
  EXPECT_EQ(Error(nested(kMaxJsonDepth + 1)), "must be JSON nested at most 64 deep");
  EXPECT_EQ(Error(std::string(1'000'000, '[')), "must be JSON nested at most 64 deep");
}

}  // namespace
}  // namespace tidal::jinja
