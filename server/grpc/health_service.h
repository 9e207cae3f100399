// grpc.health.v1, for load balancers, Kubernetes probes and the HTTP gateway.
//
// Our own rather than gRPC's default: that one says SERVING from the moment the port is open, and
// ours must not before a step of the model has run.
#ifndef TIDAL_SERVER_GRPC_HEALTH_SERVICE_H_
#define TIDAL_SERVER_GRPC_HEALTH_SERVICE_H_

#include <memory>
#include <string>
#include <vector>

namespace grpc {
class Service;
}

namespace tidal {

// Each name has a status: NOT_SERVING at first. Thread-safe. Destroy it after the server.
class HealthService {
 public:
  explicit HealthService(const std::vector<std::string>& names);  // "" is the whole server
  ~HealthService();

  // Precondition: one of the names.
  void SetServing(const std::string& name, bool serving);
  // Ends the watches that are open and refuses new ones, so that the server can shut down.
  void Shutdown();

  grpc::Service* service();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GRPC_HEALTH_SERVICE_H_
