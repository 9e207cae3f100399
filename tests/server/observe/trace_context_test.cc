#include "server/observe/trace_context.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

constexpr char kTraceId[] = "12345678901234567890123456789012";
constexpr char kSpanId[] = "1234567890123456";
const std::string kParent = absl::StrCat("00-", kTraceId, "-", kSpanId, "-01");

TEST(TraceContextTest, TraceParentIsTaken) {
  const TraceContext context = ParseTraceContext(kParent, "");
  ASSERT_TRUE(context.valid());
  EXPECT_EQ(context.trace_id, kTraceId);
  EXPECT_EQ(context.span_id, kSpanId);
  EXPECT_TRUE(context.sampled);
  EXPECT_EQ(FormatTraceParent(context), kParent);
}

TEST(TraceContextTest, TheLowestFlagSaysSampled) {
  const auto sampled = [](const char* flags) {
    const TraceContext context =
        ParseTraceContext(absl::StrCat("00-", kTraceId, "-", kSpanId, "-", flags), "");
    EXPECT_TRUE(context.valid()) << flags;
    return context.sampled;
  };
  for (const char* flags : {"01", "03", "09", "0b", "0f", "ff"}) EXPECT_TRUE(sampled(flags));
  for (const char* flags : {"00", "02", "08", "0a", "0e", "fe"}) EXPECT_FALSE(sampled(flags));
}

TEST(TraceContextTest, SpaceAroundIsDropped) {
  EXPECT_TRUE(ParseTraceContext(absl::StrCat(" \t", kParent, "\t "), "").valid());
}

// The cases of the W3C's test suite.
TEST(TraceContextTest, MalformedTraceParentsAreIgnored) {
  const std::string rest = absl::StrCat("-", kTraceId, "-", kSpanId, "-01");
  for (const std::string& bad : {
           std::string(),
           std::string("00"),
           absl::StrCat("ff", rest),  // the one version that is forbidden
           absl::StrCat(".0", rest),  // version with other characters
           absl::StrCat("0.", rest),
           absl::StrCat("0", rest),
           absl::StrCat("000", rest),
           absl::StrCat("0G", rest),
           absl::StrCat("00-00000000000000000000000000000000-", kSpanId, "-01"),
           absl::StrCat("00-.2345678901234567890123456789012-", kSpanId, "-01"),
           absl::StrCat("00-1234567890123456789012345678901.-", kSpanId, "-01"),
           absl::StrCat("00-123456789012345678901234567890123-", kSpanId, "-01"),
           absl::StrCat("00-1234567890123456789012345678901-", kSpanId, "-01"),
           absl::StrCat("00-ABCDEF78901234567890123456789012-", kSpanId, "-01"),
           absl::StrCat("00-", kTraceId, "-0000000000000000-01"),
           absl::StrCat("00-", kTraceId, "-.234567890123456-01"),
           absl::StrCat("00-", kTraceId, "-12345678901234567-01"),
           absl::StrCat("00-", kTraceId, "-123456789012345-01"),
           absl::StrCat("00-", kTraceId, "-123456789012345X-01"),
           absl::StrCat("00-", kTraceId, "-", kSpanId, "-.0"),
           absl::StrCat("00-", kTraceId, "-", kSpanId, "-0."),
           absl::StrCat("00-", kTraceId, "-", kSpanId, "-001"),
           absl::StrCat("00-", kTraceId, "-", kSpanId, "-1"),
           absl::StrCat("00-", kTraceId, "-", kSpanId, "-0X"),
           absl::StrCat("00-", kTraceId, "-", kSpanId),
           absl::StrCat("00_", kTraceId, "-", kSpanId, "-01"),
           absl::StrCat(kParent, "-what-the-future-will-be-like"),  // version 00 ends there
           absl::StrCat(kParent, "-"),
           absl::StrCat(kParent, ",", kParent),  // two headers
       }) {
    EXPECT_FALSE(ParseTraceContext(bad, "foo=1").valid()) << bad;
    EXPECT_EQ(ParseTraceContext(bad, "foo=1").state, "") << "state without a parent";
  }
}

TEST(TraceContextTest, LaterVersionsMayHaveMoreFields) {
  const std::string later = absl::StrCat("cc-", kTraceId, "-", kSpanId, "-01");
  for (const char* more : {"", "-", "-what-the-future-will-be-like"}) {
    EXPECT_TRUE(ParseTraceContext(absl::StrCat(later, more), "").valid()) << more;
  }
  EXPECT_FALSE(ParseTraceContext(absl::StrCat(later, ".what"), "").valid());
  // What we send is of our own version.
  EXPECT_EQ(FormatTraceParent(ParseTraceContext(absl::StrCat(later, "-x"), "")), kParent);
}

TEST(TraceContextTest, TraceStateIsPassedOn) {
  const std::string longest_key(256, 'z');
  const std::string longest_tenant = absl::StrCat(std::string(241, 't'), "@", std::string(14, 'v'));
  for (const std::string& state : {
           std::string("foo=1"),
           std::string("foo=1,bar=2"),
           std::string("foo=1 \t , \t bar=2, \t baz=3"),
           std::string("foo=1,"),
           std::string("foo=1,,bar=2"),
           std::string("0tenant@vendor=value"),
           std::string("foo-_*/bar=~!#$%"),
           absl::StrCat(longest_key, "=1"),
           absl::StrCat(longest_tenant, "=1"),
           absl::StrCat("foo=", std::string(256, 'v')),
       }) {
    EXPECT_EQ(ParseTraceContext(kParent, state).state, state);
  }
  EXPECT_EQ(ParseTraceContext(kParent, " foo=1 ").state, "foo=1");
}

TEST(TraceContextTest, MalformedTraceStateIsDroppedAlone) {
  std::string too_many;
  for (int i = 0; i < 33; ++i) absl::StrAppend(&too_many, i == 0 ? "" : ",", "bar", i, "=", i);
  for (const std::string& state : {
           std::string("foo"),
           std::string("=1"),
           std::string("foo="),
           std::string("foo=1=2"),
           std::string("foo =1"),
           std::string("FOO=1"),
           std::string("foo.bar=1"),
           std::string("0foo=1"),
           std::string("foo@=1"),
           std::string("@foo=1"),
           std::string("foo@@bar=1"),
           std::string("foo@bar@baz=1"),
           std::string("foo@0bar=1"),
           std::string("foo=1,foo=1"),
           std::string("foo=1,foo=2"),
           std::string("foo=b\xc3\xa4r"),
           absl::StrCat(std::string(257, 'z'), "=1"),
           absl::StrCat(std::string(242, 't'), "@v=1"),
           absl::StrCat("t@", std::string(15, 'v'), "=1"),
           absl::StrCat("foo=", std::string(257, 'v')),
           too_many,
       }) {
    const TraceContext context = ParseTraceContext(kParent, state);
    EXPECT_TRUE(context.valid()) << state;
    EXPECT_EQ(context.state, "") << state;
  }
}

}  // namespace
}  // namespace tidal
