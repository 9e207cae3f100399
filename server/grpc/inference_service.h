// tidal.v1.Inference over gRPC's callback API: requests in, events out, nothing decided here.
#ifndef TIDAL_SERVER_GRPC_INFERENCE_SERVICE_H_
#define TIDAL_SERVER_GRPC_INFERENCE_SERVICE_H_

#include <memory>

#include "server/generation_service.h"

namespace grpc {
class Service;
}

namespace tidal {

// `service` outlives it. Thread-safe.
std::unique_ptr<grpc::Service> MakeInferenceService(GenerationService* service);

}  // namespace tidal

#endif  // TIDAL_SERVER_GRPC_INFERENCE_SERVICE_H_
