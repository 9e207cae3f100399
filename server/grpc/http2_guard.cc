#include "server/grpc/http2_guard.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

constexpr absl::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr absl::string_view kNotHttp2Text =
    "This port speaks gRPC over HTTP/2; the HTTP API has a port of its own (http_port).\n";

// Types and flags of RFC 9113, section 6.
constexpr uint8_t kData = 0x0, kHeaders = 0x1, kSettings = 0x4, kPing = 0x6, kGoaway = 0x7,
                  kContinuation = 0x9;
constexpr uint8_t kEndStream = 0x1, kAck = 0x1, kEndHeaders = 0x4;
constexpr uint32_t kProtocolError = 0x1, kEnhanceYourCalm = 0xb;

uint32_t BigEndian(const uint8_t* bytes, int count) {
  uint32_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 8 | bytes[i];
  return value;
}

void AppendBigEndian(uint32_t value, int count, std::string* out) {
  for (int i = count - 1; i >= 0; --i) out->push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

// The last stream is said to be the highest there can be: what the client may try again is for its
// status codes to tell, not for us, who do not know what gRPC has begun.
std::string Goaway(uint32_t error, absl::string_view message) {
  constexpr uint32_t kLastStream = 0x7fffffff;
  std::string frame;
  AppendBigEndian(static_cast<uint32_t>(8 + message.size()), 3, &frame);
  frame.push_back(kGoaway);
  frame.push_back(0);
  AppendBigEndian(0, 4, &frame);
  AppendBigEndian(kLastStream, 4, &frame);
  AppendBigEndian(error, 4, &frame);
  absl::StrAppend(&frame, message);
  return frame;
}

// With how many frames that carry nothing a client may answer one of ours.
int64_t AnswersTo(const Http2Frames::Head& head) {
  if (head.type == kData || head.type == kHeaders) return 4 + head.length / 1024;
  const bool asks = (head.type == kSettings || head.type == kPing) && (head.flags & kAck) == 0;
  return asks ? 1 : 0;
}

}  // namespace

std::optional<Http2Frames::Head> Http2Frames::Next(absl::string_view* bytes) {
  const size_t payload = std::min<size_t>(bytes->size(), payload_left_);
  payload_left_ -= static_cast<uint32_t>(payload);
  bytes->remove_prefix(payload);
  const size_t size = std::min(bytes->size(), kHeadBytes - head_bytes_);
  std::memcpy(head_ + head_bytes_, bytes->data(), size);
  head_bytes_ += size;
  bytes->remove_prefix(size);
  if (head_bytes_ < kHeadBytes) return std::nullopt;
  head_bytes_ = 0;
  payload_left_ = BigEndian(head_, 3);
  return Head{payload_left_, head_[3], head_[4], BigEndian(head_ + 5, 4) & 0x7fffffff};
}

Http2Guard::Http2Guard(const Http2Limits& limits)
    : limits_(limits), credit_(static_cast<double>(limits.max_idle_frames)) {}

Http2Guard::Verdict Http2Guard::Receive(absl::string_view bytes, absl::Time now) {
  if (preface_bytes_ < kPreface.size()) {
    const size_t size = std::min(bytes.size(), kPreface.size() - preface_bytes_);
    if (bytes.substr(0, size) != kPreface.substr(preface_bytes_, size)) return Verdict::kNotHttp2;
    preface_bytes_ += size;
    bytes.remove_prefix(size);
  }
  while (const std::optional<Http2Frames::Head> head = received_.Next(&bytes)) {
    if (const Verdict verdict = OnHead(*head, now); verdict != Verdict::kOk) return verdict;
  }
  return Verdict::kOk;
}

void Http2Guard::Sent(absl::string_view bytes) {
  while (const std::optional<Http2Frames::Head> head = sent_.Next(&bytes)) {
    answers_ += AnswersTo(*head);
  }
}

Http2Guard::Verdict Http2Guard::OnHead(const Http2Frames::Head& head, absl::Time now) {
  const auto [length, type, flags, stream] = head;
  has_begun_ = true;

  if (type == kHeaders || type == kContinuation) {
    const uint32_t continued = type == kContinuation ? stream : 0;
    // A stream of 0 is gRPC's to refuse; here it would be no block.
    if (header_stream_ != continued || stream == 0) return Verdict::kHeaderCut;
    if (type == kHeaders) header_bytes_ = 0;
    header_bytes_ += static_cast<int64_t>(Http2Frames::kHeadBytes) + length;
    if (header_bytes_ > limits_.max_header_block_bytes) return Verdict::kHeaderTooLarge;
    header_stream_ = (flags & kEndHeaders) != 0 ? 0 : stream;
    return Verdict::kOk;
  }
  if (header_stream_ != 0) return Verdict::kHeaderCut;
  const bool moves = type == kData && (length > 0 || (flags & kEndStream) != 0);
  return moves ? Verdict::kOk : Charge(now);
}

Http2Guard::Verdict Http2Guard::Charge(absl::Time now) {
  if (answers_ > 0) {
    --answers_;
    return Verdict::kOk;
  }
  if (refilled_ < now) {
    if (refilled_ != absl::InfinitePast()) {
      credit_ += absl::ToDoubleSeconds(now - refilled_) *
                 static_cast<double>(limits_.idle_frames_per_second);
    }
    refilled_ = now;
  }
  credit_ = std::min(credit_, static_cast<double>(limits_.max_idle_frames));
  if (credit_ < 1) return Verdict::kTooManyIdleFrames;
  credit_ -= 1;
  return Verdict::kOk;
}

std::string Farewell(Http2Guard::Verdict verdict, const Http2Limits& limits) {
  using Verdict = Http2Guard::Verdict;
  switch (verdict) {
    case Verdict::kOk:
      return "";
    case Verdict::kNotHttp2:
      return absl::StrCat(
          "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n"
          "Content-Length: ",
          kNotHttp2Text.size(), "\r\n\r\n", kNotHttp2Text);
    case Verdict::kHeaderTooLarge:
      return Goaway(kEnhanceYourCalm,
                    absl::StrCat("a header block must have at most ", limits.max_header_block_bytes,
                                 " bytes (max_header_bytes)"));
    case Verdict::kHeaderCut:
      return Goaway(kProtocolError, "a frame in the middle of a header block");
    case Verdict::kTooManyIdleFrames:
      return Goaway(kEnhanceYourCalm,
                    absl::StrCat("frames that carry nothing: at most ", limits.max_idle_frames,
                                 " at once, ", limits.idle_frames_per_second, " a second"));
  }
  return "";
}

absl::string_view VerdictName(Http2Guard::Verdict verdict) {
  using Verdict = Http2Guard::Verdict;
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kNotHttp2:
      return "not_http2";
    case Verdict::kHeaderTooLarge:
      return "header_too_large";
    case Verdict::kHeaderCut:
      return "header_cut";
    case Verdict::kTooManyIdleFrames:
      return "idle_frames";
  }
  return "";
}

}  // namespace tidal
