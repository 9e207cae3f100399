// The whole server in one object: model, gRPC, HTTP, metrics, health.
#ifndef TIDAL_SERVER_PROGRAMS_TIDAL_SERVER_H_
#define TIDAL_SERVER_PROGRAMS_TIDAL_SERVER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/config/server_config.h"

namespace tidal {

// Thread-safe.
class TidalServer {
 public:
  // Returns when requests can be answered: loaded, listening, warmed up, health SERVING. Errors are
  // one line that names the flag, file or field at fault.
  static absl::StatusOr<std::unique_ptr<TidalServer>> Start(const ServerConfig& config);
  ~TidalServer();  // Shutdown() without grace, if there was none

  int http_port() const;
  int grpc_port() const;

  // Health turns NOT_SERVING and new requests are refused; running ones finish within `timeout`,
  // the rest is cancelled; then everything is closed. True when all finished. A second call does
  // nothing.
  bool Shutdown(absl::Duration timeout);

 private:
  class Impl;
  explicit TidalServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_PROGRAMS_TIDAL_SERVER_H_
