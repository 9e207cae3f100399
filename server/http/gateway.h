// The OpenAI-compatible HTTP front door: HTTP/1.1 and JSON on one side, tidal.v1.Inference over a
// gRPC channel on the other. The channel may be in-process or lead to other machines; the code is
// the same.
//
// Readiness (/health, /health/ready, /ping) is what the channel's grpc.health.v1 service answers
// for the empty service name. /metrics is render_metrics() followed by the gateway's own
// tidal:http_* families.
#ifndef TIDAL_SERVER_HTTP_GATEWAY_H_
#define TIDAL_SERVER_HTTP_GATEWAY_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace grpc {
class Channel;
}

namespace tidal {

struct GatewayOptions {
  std::string host = "127.0.0.1";  // address or name to listen on; "::" or "0.0.0.0" for all
  int port = 0;                    // 0 = any free one, see Gateway::port()
  int io_threads = 2;

  // Prometheus text; called on an io thread. Empty: only the gateway's own metrics.
  std::function<std::string()> render_metrics;
  // Answers /health/live; called on an io thread. Empty: always live.
  std::function<bool()> is_live;
  // Where not empty, every path but health, ping, version and metrics wants one of them as
  // "Authorization: Bearer KEY".
  std::vector<std::string> api_keys;

  int max_connections = 4096;  // more are answered 503 and closed
  size_t max_header_bytes = 16 << 10;
  size_t max_body_bytes = 10 << 20;
  // Of all requests together; a large request (over 64 KiB) beyond it is answered 503.
  size_t max_held_bytes = 512 << 20;
  // A streamed reply holds about this many unsent bytes before it stops reading from the channel.
  size_t max_unsent_bytes = 64 << 10;

  absl::Duration idle_timeout = absl::Seconds(75);    // between requests of a connection
  absl::Duration header_timeout = absl::Seconds(10);  // first byte to end of header
  absl::Duration body_timeout = absl::Seconds(60);    // end of header to end of body
  absl::Duration write_timeout =
      absl::Seconds(60);  // a client that takes no bytes for so long is cut

  // INVALID_ARGUMENT "flag: must be ..., got ...".
  absl::Status Validate() const;
};

// Thread-safe. Holds its own threads; Stop() (or the destructor, with no grace) ends them.
class Gateway {
 public:
  // Listens before it returns. UNAVAILABLE when the address cannot be bound, INVALID_ARGUMENT for a
  // bad option. The channel should accept messages as large as max_body_bytes.
  static absl::StatusOr<std::unique_ptr<Gateway>> Start(GatewayOptions options,
                                                        std::shared_ptr<grpc::Channel> channel);
  ~Gateway();

  int port() const;

  // Drains: readiness turns 503 and new work is refused with 503, while health and metrics are
  // still answered; returns when every running request is done, at the latest after `grace`, when
  // the rest is cancelled. Everything is closed then. A second call does nothing.
  void Stop(absl::Duration grace);

 private:
  class Impl;
  explicit Gateway(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_HTTP_GATEWAY_H_
