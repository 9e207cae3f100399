// absl::Status as gRPC's: the codes are the same.
#ifndef TIDAL_SERVER_GRPC_STATUS_H_
#define TIDAL_SERVER_GRPC_STATUS_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "scheduler/retry_after.h"

namespace tidal {

inline grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

// The same as the end of a call, with the time to come again in its trailing metadata.
inline grpc::Status ToGrpcStatus(const absl::Status& status, grpc::CallbackServerContext* context) {
  if (const auto seconds = RetryAfterOf(status)) {
    context->AddTrailingMetadata(kRetryAfter, absl::StrCat(*seconds));
  }
  return ToGrpcStatus(status);
}

}  // namespace tidal

#endif  // TIDAL_SERVER_GRPC_STATUS_H_
