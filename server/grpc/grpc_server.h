// The gRPC side of the process: one port, one in-process channel, health, reflection.
#ifndef TIDAL_SERVER_GRPC_GRPC_SERVER_H_
#define TIDAL_SERVER_GRPC_GRPC_SERVER_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/generation/generation_service.h"
#include "server/security/api_keys.h"
#include "server/security/tls_files.h"

namespace grpc {
class Channel;
}

namespace tidal {

struct GrpcServerOptions {
  std::string host = "127.0.0.1";
  int port = 0;                             // 0 = any free one, see GrpcServer::port()
  TlsFiles tls;                             // read again when they change
  std::shared_ptr<const ApiKeys> api_keys;  // of tidal.v1.Inference; null: none is asked for
  int max_message_bytes = 16 << 20;         // of a request
  int max_header_bytes = 16 << 10;          // of a call; more ends the connection
  int max_connections = 4096;               // more are closed at once
  absl::Duration header_timeout = absl::Seconds(10);  // see GuardedConnectionOptions
  absl::Duration write_timeout = absl::Seconds(60);
  int max_concurrent_streams = 2048;  // a connection
  // A connection takes no new calls when it is this old (give or take a tenth), so that clients
  // look again which servers there are; those that run end on it. 0: never.
  absl::Duration max_connection_age = absl::Minutes(5);
};

// Thread-safe.
class GrpcServer {
 public:
  // Listens before it returns, neither ready nor live. UNAVAILABLE when the address cannot be
  // bound, INVALID_ARGUMENT for a certificate or key that cannot be read. `service` outlives it.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options,
                                                           GenerationService* service);
  ~GrpcServer();  // Stop() without grace

  int port() const;
  // To this server without a network; no TLS, no limit of streams.
  std::shared_ptr<grpc::Channel> InProcessChannel();

  // What grpc.health.v1 answers: ready for "" and "tidal.v1.Inference", live for "live", so that
  // Kubernetes' gRPC probes can ask for either; accepting for "accepting", which gateways ask. None
  // at first.
  void SetReady(bool ready);
  void SetAccepting(bool accepting);
  void SetLive(bool live);

  // Refuses new calls, lets the running ones finish within `grace`, cancels the rest; returns when
  // none is left, so the loop must still run. A second call does nothing.
  void Stop(absl::Duration grace);

  // Prometheus text of the port's own metrics, as GrpcDoor has it.
  std::string RenderMetrics() const;

 private:
  class Impl;
  explicit GrpcServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GRPC_GRPC_SERVER_H_
