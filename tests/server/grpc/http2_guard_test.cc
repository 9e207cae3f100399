#include "server/grpc/http2_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tests/server/grpc/http2_frames.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;
using Verdict = Http2Guard::Verdict;

const absl::Time kBegin = absl::FromUnixSeconds(1'000'000);
const std::string kOpening = absl::StrCat(kHttp2Preface, Http2Frame(kSettings, ""));

Http2Limits SmallLimits() {
  return {.max_header_block_bytes = 100, .max_idle_frames = 10, .idle_frames_per_second = 5};
}

// What a new connection comes to with these bytes, in pieces of `piece`.
Verdict Receive(const std::string& bytes, size_t piece = 1 << 20) {
  Http2Guard guard(SmallLimits());
  for (size_t at = 0; at < bytes.size(); at += piece) {
    const Verdict verdict = guard.Receive(absl::string_view(bytes).substr(at, piece), kBegin);
    if (verdict != Verdict::kOk) return verdict;
  }
  return Verdict::kOk;
}

std::string Repeat(const std::string& frame, int count) {
  std::string frames;
  for (int i = 0; i < count; ++i) frames += frame;
  return frames;
}

TEST(Http2GuardTest, AnOrdinaryCallPassesHoweverItIsCut) {
  const std::string call = absl::StrCat(
      kOpening, Http2Frame(kHeaders, std::string(60, 'h'), kEndHeaders, 1),
      Http2Frame(kData, std::string(1000, 'd'), 0, 1), Http2Frame(kData, "", kEndStream, 1),
      Http2Frame(kHeaders, std::string(20, 'h'), 0, 3),
      Http2Frame(kContinuation, std::string(20, 'h'), kEndHeaders, 3));
  for (size_t piece = 1; piece < 40; ++piece) EXPECT_EQ(Verdict::kOk, Receive(call, piece));
}

TEST(Http2GuardTest, WhatIsNotHttp2) {
  EXPECT_EQ(Verdict::kNotHttp2, Receive("GET / HTTP/1.1\r\n\r\n"));
  EXPECT_EQ(Verdict::kNotHttp2, Receive("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 5));
  EXPECT_EQ(Verdict::kOk, Receive("PRI * HT"));
}

TEST(Http2GuardTest, AHeaderBlockHasALimit) {
  // 9 + 91 bytes are 100.
  EXPECT_EQ(Verdict::kOk,
            Receive(kOpening + Http2Frame(kHeaders, std::string(91, 'h'), kEndHeaders, 1)));
  EXPECT_EQ(Verdict::kHeaderTooLarge,
            Receive(kOpening + Http2Frame(kHeaders, std::string(92, 'h'), kEndHeaders, 1)));
  const std::string begun = kOpening + Http2Frame(kHeaders, std::string(30, 'h'), 0, 1);
  const std::string more = Http2Frame(kContinuation, std::string(21, 'h'), 0, 1);
  EXPECT_EQ(Verdict::kOk, Receive(begun + Repeat(more, 2)));
  EXPECT_EQ(Verdict::kHeaderTooLarge, Receive(begun + Repeat(more, 3)));
  // Empty frames count by their heads.
  EXPECT_EQ(Verdict::kHeaderTooLarge,
            Receive(begun + Repeat(Http2Frame(kContinuation, "", 0, 1), 7)));
  // Each block has the limit for itself.
  const std::string whole = Http2Frame(kHeaders, std::string(91, 'h'), kEndHeaders, 1);
  EXPECT_EQ(Verdict::kOk, Receive(kOpening + Repeat(whole, 50)));
}

TEST(Http2GuardTest, AHeaderBlockIsNotInterrupted) {
  const std::string begun = kOpening + Http2Frame(kHeaders, "h", 0, 1);
  EXPECT_EQ(Verdict::kHeaderCut, Receive(begun + Http2Frame(kData, "d", 0, 1)));
  EXPECT_EQ(Verdict::kHeaderCut, Receive(begun + Http2Frame(kHeaders, "h", kEndHeaders, 3)));
  EXPECT_EQ(Verdict::kHeaderCut, Receive(begun + Http2Frame(kContinuation, "h", kEndHeaders, 3)));
  EXPECT_EQ(Verdict::kHeaderCut,
            Receive(kOpening + Http2Frame(kContinuation, "h", kEndHeaders, 1)));
  EXPECT_EQ(Verdict::kHeaderCut, Receive(kOpening + Http2Frame(kHeaders, "h", kEndHeaders, 0)));
}

TEST(Http2GuardTest, FramesThatCarryNothingHaveALimit) {
  const std::string idle[] = {Http2Frame(kSettings, ""),
                              Http2Frame(kPing, "12345678"),
                              Http2Frame(kRstStream, "1234", 0, 1),
                              Http2Frame(kPriority, "12345", 0, 1),
                              Http2Frame(kWindowUpdate, "1234"),
                              Http2Frame(kData, "", 0, 1),
                              Http2Frame(kUnknown, "something")};
  for (const std::string& frame : idle) {
    EXPECT_EQ(Verdict::kOk, Receive(kOpening + Repeat(frame, 9)));  // the tenth is the opening's
    EXPECT_EQ(Verdict::kTooManyIdleFrames, Receive(kOpening + Repeat(frame, 10)));
  }
  EXPECT_EQ(Verdict::kOk, Receive(kOpening + Repeat(Http2Frame(kData, "d", 0, 1), 1000)));
}

TEST(Http2GuardTest, TimeMakesRoomForMoreOfThem) {
  Http2Guard guard(SmallLimits());
  const std::string ping = Http2Frame(kPing, "12345678");
  ASSERT_EQ(Verdict::kOk, guard.Receive(kOpening + Repeat(ping, 9), kBegin));
  // Five a second, but never more than ten at once.
  ASSERT_EQ(Verdict::kOk, guard.Receive(Repeat(ping, 5), kBegin + absl::Seconds(1)));
  ASSERT_EQ(Verdict::kOk, guard.Receive(Repeat(ping, 10), kBegin + absl::Seconds(100)));
  EXPECT_EQ(Verdict::kTooManyIdleFrames, guard.Receive(ping, kBegin + absl::Seconds(100)));
}

// How many frames that carry nothing a client may send which was sent `bytes`, in pieces.
int AnswersAllowed(absl::string_view bytes, size_t piece) {
  Http2Guard guard(SmallLimits());
  EXPECT_EQ(Verdict::kOk,
            guard.Receive(kOpening + Repeat(Http2Frame(kPing, "12345678"), 9), kBegin));
  while (!bytes.empty()) {
    guard.Sent(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  const std::string update = Http2Frame(kWindowUpdate, "1234");
  int allowed = 0;
  while (guard.Receive(update, kBegin) == Verdict::kOk) ++allowed;
  return allowed;
}

TEST(Http2GuardTest, AnswersToWhatAClientIsSentDoNotCount) {
  constexpr uint8_t kAck = 0x1;
  const struct {
    std::string sent;
    int answers;
  } cases[] = {
      {Http2Frame(kData, std::string(22, 'd'), 0, 1), 4},
      {Http2Frame(kData, std::string(5000, 'd'), 0, 1), 4 + 4},
      {Http2Frame(kHeaders, "status", kEndHeaders, 1), 4},
      {Http2Frame(kSettings, ""), 1},
      {Http2Frame(kPing, "12345678"), 1},
      // The rest is a client's own, or wants no answer: who asks without end must come to his
      // limit.
      {Http2Frame(kSettings, "", kAck), 0},
      {Http2Frame(kPing, "12345678", kAck), 0},
      {Http2Frame(kWindowUpdate, "1234"), 0},
      {Http2Frame(kRstStream, "1234", 0, 1), 0},
  };
  for (const auto& [sent, answers] : cases) {
    for (const size_t piece : {1, 7, 100'000}) {
      EXPECT_EQ(answers, AnswersAllowed(sent, piece)) << absl::CHexEscape(sent.substr(0, 9));
      EXPECT_EQ(300 * answers, AnswersAllowed(Repeat(sent, 300), piece));
    }
  }
}

TEST(Http2GuardTest, KnowsWhatMustEndInTime) {
  Http2Guard guard(SmallLimits());
  EXPECT_TRUE(guard.is_opening());
  guard.Receive(kHttp2Preface, kBegin);
  EXPECT_TRUE(guard.is_opening());
  guard.Receive(Http2Frame(kSettings, ""), kBegin);
  EXPECT_FALSE(guard.is_opening());
  EXPECT_FALSE(guard.in_header_block());
  guard.Receive(Http2Frame(kHeaders, "h", 0, 1), kBegin);
  EXPECT_TRUE(guard.in_header_block());
  guard.Receive(Http2Frame(kContinuation, "h", kEndHeaders, 1), kBegin);
  EXPECT_FALSE(guard.in_header_block());
}

TEST(Http2GuardTest, SaysWhy) {
  const std::string goaway = Farewell(Verdict::kHeaderTooLarge, SmallLimits());
  EXPECT_EQ(absl::StrCat(Http2Frame(kGoaway, goaway.substr(9))), goaway);
  EXPECT_THAT(goaway, HasSubstr("at most 100 bytes (max_header_bytes)"));
  EXPECT_THAT(Farewell(Verdict::kTooManyIdleFrames, SmallLimits()),
              HasSubstr("at most 10 at once"));
  EXPECT_THAT(Farewell(Verdict::kNotHttp2, SmallLimits()), HasSubstr("HTTP/1.1 400"));
  EXPECT_EQ("", Farewell(Verdict::kOk, SmallLimits()));
}

}  // namespace
}  // namespace tidal
