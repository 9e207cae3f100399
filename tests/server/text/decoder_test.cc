#include "server/text/decoder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidal {
namespace {

using Parts = std::vector<std::string>;

Decoder Make(std::vector<Decoder::Step> steps) {
  Decoder decoder;
  for (Decoder::Step& step : steps) decoder.Add(std::move(step));
  return decoder;
}

// What each token completes, and at last what was left.
Parts Decode(const Decoder& decoder, const Parts& tokens) {
  Decoding decoding(decoder);
  Parts parts;
  for (const std::string& token : tokens) parts.push_back(decoding.Append(token));
  parts.push_back(decoding.Finish());
  return parts;
}

Decoder::Replace MarkToSpace() { return {Pattern::Literal("_"), " "}; }

Decoder Llama() {
  return Make({MarkToSpace(), Decoder::ByteFallback(), Decoder::Fuse(), Decoder::Strip{" ", 1, 0}});
}

TEST(DecoderTest, NoStep) {
  EXPECT_EQ(Decode(Decoder(), {"a", "b"}), (Parts{"a", "b", ""}));
  EXPECT_EQ(Decode(Decoder(), {}), Parts{""});
}

TEST(DecoderTest, Spaces) {
  EXPECT_EQ(Decode(Make({Decoder::Spaces()}), {"a", "b", ""}), (Parts{"a", " b", " ", ""}));
}

TEST(DecoderTest, Utf8) {
  const Decoder decoder = Make({Decoder::Utf8()});
  EXPECT_TRUE(decoder.takes_bytes());
  EXPECT_EQ(Decode(decoder, {"a\xE2", "\x82", "\xAC", "\xE2"}),
            (Parts{"a", "", "\u20AC", "", "\uFFFD"}));
}

TEST(DecoderTest, LlamaStripsTheFirstSpaceOnly) {
  EXPECT_EQ(Decode(Llama(), {"_a", "_b"}), (Parts{"a", " b", ""}));
  EXPECT_EQ(Decode(Llama(), {"__a"}), (Parts{" a", ""}));
  EXPECT_EQ(Decode(Llama(), {"_", "_", "a"}), (Parts{"", " ", "a", ""}));
}

TEST(DecoderTest, BytesWaitUntilTheirRunEnds) {
  EXPECT_EQ(Decode(Llama(), {"<0xE2>", "<0x82>", "<0xAC>", "a"}),
            (Parts{"", "", "", "\u20ACa", ""}));
  EXPECT_EQ(Decode(Llama(), {"<0x41>", "<0xFF>"}), (Parts{"", "", "\uFFFD\uFFFD"}));
  EXPECT_EQ(Decode(Llama(), {"<0x+a>", "<0xg0>", "<0x0>"}), (Parts{"", "\n<0xg0>", "<0x0>", ""}));
}

TEST(DecoderTest, Metaspace) {
  EXPECT_EQ(Decode(Make({Decoder::Metaspace{"_", true}}), {"_a_b", "_c"}), (Parts{"ab", " c", ""}));
  EXPECT_EQ(Decode(Make({Decoder::Metaspace{"_", false}}), {"_a", "_c"}), (Parts{" a", " c", ""}));
}

TEST(DecoderTest, TheLastWordEndsWithoutASpace) {
  EXPECT_EQ(Decode(Make({Decoder::WordEnd{"@"}}), {"a", "b@", "c@d@"}),
            (Parts{"a", "b", " c", "d"}));
  EXPECT_EQ(Decode(Make({Decoder::WordEnd{"@"}}), {"@", "@", "a"}), (Parts{"", " ", " a", ""}));
}

TEST(DecoderTest, StripAtBothEnds) {
  const Decoder elements = Make({Decoder::Strip{"x", 1, 2}});
  EXPECT_EQ(Decode(elements, {"xxaxxx", "x", "xx", "bxc"}), (Parts{"xax", "", "", "bxc", ""}));
  const Decoder whole = Make({Decoder::Fuse(), Decoder::Strip{"x", 1, 1}});
  EXPECT_EQ(Decode(whole, {"xax", "x", "b", "xx"}), (Parts{"a", "x", "xb", "x", ""}));
}

TEST(DecoderTest, TokenBytes) {
  EXPECT_EQ(Make({Decoder::Utf8()}).TokenBytes("\xE2"), "\xE2");
  EXPECT_EQ(Llama().TokenBytes("_the"), " the");
  EXPECT_EQ(Llama().TokenBytes("<0xE2>"), "\xE2");
  EXPECT_EQ(Make({Decoder::Metaspace{"_", true}}).TokenBytes("_a"), " a");
  EXPECT_EQ(Make({Decoder::WordEnd{"@"}}).TokenBytes("a@"), "a ");
  EXPECT_EQ(Make({Decoder::Spaces()}).TokenBytes("a"), "a");
  EXPECT_EQ(Make({Decoder::Replace{Pattern::Literal("a"), ""}}).TokenBytes("ab"), "ab");
}

}  // namespace
}  // namespace tidal
