// Frames of HTTP/2, as a client that knows no manners would send them.
#ifndef TIDAL_TESTS_SERVER_GRPC_HTTP2_FRAMES_H_
#define TIDAL_TESTS_SERVER_GRPC_HTTP2_FRAMES_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace tidal {

inline constexpr absl::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types and flags of RFC 9113, section 6.
inline constexpr uint8_t kData = 0, kHeaders = 1, kPriority = 2, kRstStream = 3, kSettings = 4,
                         kPing = 6, kGoaway = 7, kWindowUpdate = 8, kContinuation = 9,
                         kUnknown = 0x42;
inline constexpr uint8_t kEndStream = 1, kEndHeaders = 4;

inline std::string Http2Frame(uint8_t type, absl::string_view payload, uint8_t flags = 0,
                              uint32_t stream = 0) {
  std::string frame;
  for (int shift = 16; shift >= 0; shift -= 8) {
    frame.push_back(static_cast<char>(payload.size() >> shift & 0xff));
  }
  frame.push_back(static_cast<char>(type));
  frame.push_back(static_cast<char>(flags));
  for (int shift = 24; shift >= 0; shift -= 8) {
    frame.push_back(static_cast<char>(stream >> shift & 0xff));
  }
  frame.append(payload.data(), payload.size());
  return frame;
}

}  // namespace tidal

#endif  // TIDAL_TESTS_SERVER_GRPC_HTTP2_FRAMES_H_
