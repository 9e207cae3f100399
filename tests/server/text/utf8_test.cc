#include "server/text/utf8.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidal {
namespace {

std::string Lossy(std::string_view bytes) {
  std::string out;
  EXPECT_EQ(AppendLossyUtf8(bytes, /*keep_incomplete=*/false, &out), bytes.size());
  return out;
}

TEST(Utf8Test, EveryCodePointRoundTrips) {
  std::string all;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    AppendUtf8(c, &text);
    const Utf8Unit unit = ReadUtf8(text);
    ASSERT_EQ(unit.kind, Utf8Unit::kCodePoint);
    ASSERT_EQ(unit.code_point, c);
    ASSERT_EQ(unit.length, text.size());
    for (size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_EQ(ReadUtf8(std::string_view(text).substr(0, cut)).kind, Utf8Unit::kIncomplete);
    }
    all += text;
  }
  EXPECT_EQ(FindInvalidUtf8(all), std::nullopt);
  EXPECT_EQ(Lossy(all), all);
}

TEST(Utf8Test, IllFormed) {
  for (const std::string bad :
       {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5", "\xFF", "\xC3(", "\xE2\x82(", "\xE2\x82"}) {
    EXPECT_EQ(FindInvalidUtf8("12345678\xC3\xA9" + bad), 10u);
    EXPECT_FALSE(FindInvalidUtf8(Lossy(bad)).has_value());
  }
}

TEST(Utf8Test, OneReplacementForEachIllFormedPart) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(Lossy("\xF0\x9F\x98"), r);
  EXPECT_EQ(Lossy("\xF0\x9F\x98x"), r + "x");
  EXPECT_EQ(Lossy("\xE2\x82\xE2\x82\xAC"), r + "\xE2\x82\xAC");
  EXPECT_EQ(Lossy("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(Lossy("\x80\x80"), r + r);
}

TEST(Utf8Test, AnIncompleteEndIsKept) {
  std::string out;
  EXPECT_EQ(AppendLossyUtf8("a\xF0\x9F\x98", /*keep_incomplete=*/true, &out), 1u);
  EXPECT_EQ(out, "a");
  EXPECT_EQ(AppendLossyUtf8("b\xC0", /*keep_incomplete=*/true, &out), 2u);
  EXPECT_EQ(out, "ab\xEF\xBF\xBD");
}

}  // namespace
}  // namespace tidal
