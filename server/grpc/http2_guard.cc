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
constexpr uint8_t kData = 0x0, kHeaders = 0x1, kGoaway = 0x7, kContinuation = 0x9;
constexpr uint8_t kEndStream = 0x1, kEndHeaders = 0x4;
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

}  // namespace

Http2Guard::Http2Guard(const Http2Limits& limits)
    : limits_(limits), credit_(static_cast<double>(limits.max_idle_frames)) {}

Http2Guard::Verdict Http2Guard::Receive(absl::string_view bytes, absl::Time now) {
  while (!bytes.empty()) {
    if (state_ == State::kPreface) {
      const size_t size = std::min(bytes.size(), kPreface.size() - preface_bytes_);
      if (bytes.substr(0, size) != kPreface.substr(preface_bytes_, size)) return Verdict::kNotHttp2;
      preface_bytes_ += size;
      bytes.remove_prefix(size);
      if (preface_bytes_ == kPreface.size()) state_ = State::kHead;
    } else if (state_ == State::kHead) {
      const size_t size = std::min(bytes.size(), kHeadBytes - head_bytes_);
      std::memcpy(head_ + head_bytes_, bytes.data(), size);
      head_bytes_ += size;
      bytes.remove_prefix(size);
      if (head_bytes_ < kHeadBytes) continue;
      head_bytes_ = 0;
      if (const Verdict verdict = OnHead(now); verdict != Verdict::kOk) return verdict;
    } else {
      const size_t size = std::min<size_t>(bytes.size(), payload_left_);
      payload_left_ -= static_cast<uint32_t>(size);
      bytes.remove_prefix(size);
      if (payload_left_ == 0) state_ = State::kHead;
    }
  }
  return Verdict::kOk;
}

Http2Guard::Verdict Http2Guard::OnHead(absl::Time now) {
  const uint32_t length = BigEndian(head_, 3);
  const uint8_t type = head_[3], flags = head_[4];
  const uint32_t stream = BigEndian(head_ + 5, 4) & 0x7fffffff;
  has_begun_ = true;
  payload_left_ = length;
  if (length > 0) state_ = State::kPayload;

  if (type == kHeaders || type == kContinuation) {
    const uint32_t continued = type == kContinuation ? stream : 0;
    // A stream of 0 is gRPC's to refuse; here it would be no block.
    if (header_stream_ != continued || stream == 0) return Verdict::kHeaderCut;
    if (type == kHeaders) header_bytes_ = 0;
    header_bytes_ += static_cast<int64_t>(kHeadBytes) + length;
    if (header_bytes_ > limits_.max_header_block_bytes) return Verdict::kHeaderTooLarge;
    header_stream_ = (flags & kEndHeaders) != 0 ? 0 : stream;
    return Verdict::kOk;
  }
  if (header_stream_ != 0) return Verdict::kHeaderCut;
  const bool moves = type == kData && (length > 0 || (flags & kEndStream) != 0);
  return moves ? Verdict::kOk : Charge(now);
}

Http2Guard::Verdict Http2Guard::Charge(absl::Time now) {
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
