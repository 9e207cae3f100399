// What an operator sets of the ports, in tidal-server and in tidal-gateway alike: who may come in,
// and how much of it.
#ifndef TIDAL_SERVER_CONFIG_DOOR_CONFIG_H_
#define TIDAL_SERVER_CONFIG_DOOR_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/security/tls_files.h"

namespace tidal {

// What a client of the HTTP port can take of the server. Fields have the flags' names.
struct HttpLimits {
  int32_t max_connections = 4096;  // more are answered 503 and closed
  int64_t max_header_bytes = 16 << 10;
  // Of all requests together; a large request (over 64 KiB) beyond it is answered 503.
  int64_t max_held_request_bytes = 512 << 20;
  absl::Duration http_idle_timeout = absl::Seconds(75);    // between requests of a connection
  absl::Duration http_header_timeout = absl::Seconds(10);  // TLS handshake; first byte to end
  absl::Duration http_body_timeout = absl::Seconds(60);    // end of header to end of body
  absl::Duration http_write_timeout = absl::Seconds(60);   // a client that takes no byte is cut
};

// Fields have the flags' names.
struct DoorConfig {
  std::vector<std::string> api_keys;  // with api_key_file empty, too: everyone may
  std::string api_key_file;
  TlsFiles tls;
  int32_t health_port = 0;                   // plain HTTP for probes and metrics; 0: none
  std::vector<std::string> allowed_origins;  // of pages that may use the API, or "*"; empty: none
  std::string root_path;                     // a proxy's prefix of all paths; empty: none
  bool enable_force_include_usage = false;   // OpenAI's streams tell of their usage unasked
  bool return_tokens_as_token_ids = false;   // unless a request says it
  HttpLimits http;

  // INVALID_ARGUMENT "flag: must be ..., got ...". The files are read later.
  absl::Status Validate() const;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_DOOR_CONFIG_H_
