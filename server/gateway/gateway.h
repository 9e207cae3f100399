// The HTTP front door, compatible with OpenAI's and Anthropic's APIs: HTTP/1.1 and JSON on one
// side, tidal.v1.Inference over a gRPC channel on the other. The channel may be in-process or lead
// to other machines; the code is the same.
//
// Readiness (/health, /health/ready, /ping) is what the channel's grpc.health.v1 service answers
// for health_service. /metrics is render_metrics() followed by the gateway's own
// tidal:http_* families and those of the process, on both ports the same.
#ifndef TIDAL_SERVER_GATEWAY_GATEWAY_H_
#define TIDAL_SERVER_GATEWAY_GATEWAY_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/config/door_config.h"
#include "server/openai/api_reply.h"
#include "server/security/api_keys.h"
#include "server/security/tls_files.h"

namespace grpc {
class Channel;
}

namespace tidal {

class ServerChannel;
class Tracer;

struct GatewayOptions {
  std::string host = "127.0.0.1";  // address or name to listen on; "::" or "0.0.0.0" for all
  int port = 0;                    // 0 = any free one, see Gateway::port()
  int io_threads = 2;

  // Prometheus text; called on an io thread. Empty: only the gateway's own metrics.
  std::function<std::string()> render_metrics;
  std::string health_service;  // a service name of grpc.health.v1
  // Answer /health/started and /health/live; called on an io thread. Empty: always.
  std::function<bool()> is_started, is_live;
  // Records a span of each completion and tells its numbers in /metrics; outlives the gateway.
  // Null: no tracing.
  Tracer* tracer = nullptr;
  // Every path but health, ping, version and metrics wants one of these keys. The Authorization
  // header goes on to the service in any case. Null: the gateway itself asks for none.
  std::shared_ptr<const ApiKeys> api_keys;
  TlsFiles tls;         // of `port`
  int health_port = 0;  // plain HTTP on the same host, for the paths that want no key; 0: none

  // Whose pages may use the API from a browser (CORS): origins, or "*". Empty: none but our own.
  std::vector<std::string> allowed_origins;
  // Where a proxy offers the API ("/llm"): paths below it are those without it. Empty: none.
  std::string root_path;
  ReplyDefaults reply_defaults;

  HttpLimits limits;
  size_t max_body_bytes = 10 << 20;
  // A streamed reply holds about this many unsent bytes before it stops reading from the channel.
  size_t max_unsent_bytes = 64 << 10;

  // INVALID_ARGUMENT "flag: must be ..., got ..."; of what has no Validate() of its own.
  absl::Status Validate() const;
};

// Thread-safe. Holds its own threads; Stop() (or the destructor, with no grace) ends them.
class Gateway {
 public:
  // Listens before it returns. UNAVAILABLE when an address cannot be bound, INVALID_ARGUMENT for a
  // bad option or TLS file. The channel should accept messages as large as max_body_bytes.
  static absl::StatusOr<std::unique_ptr<Gateway>> Start(GatewayOptions options,
                                                        std::unique_ptr<ServerChannel> channel);
  static absl::StatusOr<std::unique_ptr<Gateway>> Start(
      GatewayOptions options, const std::shared_ptr<grpc::Channel>& channel);
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

#endif  // TIDAL_SERVER_GATEWAY_GATEWAY_H_
