// The gRPC port: listens, ends TLS, guards what comes (http2_guard.h) and hands each connection to
// gRPC, which itself listens nowhere.
#ifndef TIDAL_SERVER_GRPC_GRPC_DOOR_H_
#define TIDAL_SERVER_GRPC_GRPC_DOOR_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/security/tls_files.h"

namespace tidal {

struct GrpcDoorOptions {
  std::string host = "127.0.0.1";
  int port = 0;                // 0 = any free one
  TlsFiles tls;                // read again when they change
  int max_connections = 4096;  // more are closed at once
  // Of a header block, with its frames' heads; more ends the connection.
  int64_t max_header_block_bytes = 16 << 10;
  absl::Duration header_timeout = absl::Seconds(10);  // see GuardedConnectionOptions
  absl::Duration write_timeout = absl::Seconds(60);
  // Takes a connected socket, which is then gRPC's to close. From any thread of the door's.
  std::function<void(int file)> hand_over;
};

// Thread-safe.
class GrpcDoor {
 public:
  // Listens when it returns. UNAVAILABLE when the address cannot be bound, INVALID_ARGUMENT for TLS
  // files that cannot be used; both name the flag.
  static absl::StatusOr<std::unique_ptr<GrpcDoor>> Open(GrpcDoorOptions options);
  ~GrpcDoor();  // Close() without grace

  int port() const;

  // No new connections.
  void StopListening();
  // The same, and waits until all connections have ended, `grace` at most; then ends them. When it
  // returns, `hand_over` runs no more.
  void Close(absl::Duration grace);

  // Prometheus text: tidal:grpc_connections, tidal:grpc_connections_cut_total{reason}.
  std::string RenderMetrics() const;

 private:
  class Impl;
  explicit GrpcDoor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GRPC_GRPC_DOOR_H_
