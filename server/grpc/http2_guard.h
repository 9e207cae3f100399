// What a client of the gRPC port may send before gRPC reads it. gRPC 1.51 bounds the data of its
// streams, but collects a header block of any length, and does its work for each frame however
// little it carries. The guard follows the frames of RFC 9113 by their 9-byte heads alone.
#ifndef TIDAL_SERVER_GRPC_HTTP2_GUARD_H_
#define TIDAL_SERVER_GRPC_HTTP2_GUARD_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tidal {

struct Http2Limits {
  // Bytes of one header block, HEADERS and its CONTINUATION frames, with their heads.
  int64_t max_header_block_bytes = 16 << 10;
  // Frames that carry nothing forward: SETTINGS, PING, RST_STREAM, PRIORITY, WINDOW_UPDATE, empty
  // DATA, unknown ones. So many may come at once, and so many a second after that. Those do not
  // count with which a client answers what it is sent: four for each frame of a reply (both windows
  // are opened again, the stream is reset) and one more for each KiB of it, one for a PING or
  // SETTINGS of the server.
  int64_t max_idle_frames = 10'000;
  int64_t idle_frames_per_second = 1'000;
};

// Cuts one direction of a connection into frames (RFC 9113, section 4.1). Not thread-safe.
class Http2Frames {
 public:
  static constexpr size_t kHeadBytes = 9;

  struct Head {
    uint32_t length;  // bytes of the payload, which follows
    uint8_t type, flags;
    uint32_t stream;
  };

  // Takes the bytes up to the end of the next frame's head; nullopt when `bytes` ends before.
  std::optional<Head> Next(absl::string_view* bytes);

 private:
  uint8_t head_[kHeadBytes];
  size_t head_bytes_ = 0;
  uint32_t payload_left_ = 0;
};

// One connection's. Not thread-safe.
class Http2Guard {
 public:
  enum class Verdict : uint8_t {
    kOk,
    kNotHttp2,          // the first 24 bytes are not HTTP/2's preface
    kHeaderTooLarge,    // max_header_block_bytes
    kHeaderCut,         // another frame in the middle of a header block
    kTooManyIdleFrames  // max_idle_frames
  };

  explicit Http2Guard(const Http2Limits& limits);

  // The next bytes of the client, cut anywhere. Anything but kOk is final, and `bytes` then must
  // not reach gRPC.
  Verdict Receive(absl::string_view bytes, absl::Time now);
  // The next bytes to the client, cut anywhere.
  void Sent(absl::string_view bytes);

  // The client has begun something that it must bring to an end in time: its preface with the first
  // frame, or a header block.
  bool is_opening() const { return !has_begun_; }
  bool in_header_block() const { return header_stream_ != 0; }

 private:
  Verdict OnHead(const Http2Frames::Head& head, absl::Time now);
  Verdict Charge(absl::Time now);

  const Http2Limits limits_;
  size_t preface_bytes_ = 0;
  Http2Frames received_, sent_;
  bool has_begun_ = false;      // a frame has come
  uint32_t header_stream_ = 0;  // of the header block that is open; 0: none
  int64_t header_bytes_ = 0;    // of it, so far
  int64_t answers_ = 0;         // that the client may still owe to what it was sent
  double credit_;               // frames without content that may come now besides
  absl::Time refilled_ = absl::InfinitePast();
};

// The last bytes for a client whose connection ends: a GOAWAY that says why, for one that does not
// speak HTTP/2 an HTTP/1.1 reply. Empty for kOk.
std::string Farewell(Http2Guard::Verdict verdict, const Http2Limits& limits);

// As a metric's label has it.
absl::string_view VerdictName(Http2Guard::Verdict verdict);

}  // namespace tidal

#endif  // TIDAL_SERVER_GRPC_HTTP2_GUARD_H_
