// absl::Status as gRPC's: the codes are the same.
#ifndef TIDAL_SERVER_GRPC_STATUS_H_
#define TIDAL_SERVER_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace tidal {

inline grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

}  // namespace tidal

#endif  // TIDAL_SERVER_GRPC_STATUS_H_
