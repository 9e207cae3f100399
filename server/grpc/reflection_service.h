// grpc.reflection.v1. gRPC 1.51 brings only v1alpha, which newer tools no longer ask first.
#ifndef TIDAL_SERVER_GRPC_REFLECTION_SERVICE_H_
#define TIDAL_SERVER_GRPC_REFLECTION_SERVICE_H_

#include <memory>
#include <string>
#include <vector>

namespace grpc {
class Service;
}

namespace tidal {

// Describes the protobuf files linked into the program; `services` are the full names it lists.
// Thread-safe. Destroy it after the server.
std::unique_ptr<grpc::Service> MakeReflectionService(std::vector<std::string> services);

}  // namespace tidal

#endif  // TIDAL_SERVER_GRPC_REFLECTION_SERVICE_H_
