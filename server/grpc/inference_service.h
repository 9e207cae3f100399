// tidal.v1.Inference over gRPC's callback API: requests in, events out, nothing decided here.
#ifndef TIDAL_SERVER_GRPC_INFERENCE_SERVICE_H_
#define TIDAL_SERVER_GRPC_INFERENCE_SERVICE_H_

#include <memory>

#include "server/generation/generation_service.h"
#include "server/security/api_keys.h"

namespace grpc {
class Service;
}

namespace tidal {

// `service` outlives it. With `api_keys` every call must carry one in its metadata, as
// "authorization: Bearer KEY"; else it is UNAUTHENTICATED. Null: nobody is asked. Thread-safe.
std::unique_ptr<grpc::Service> MakeInferenceService(GenerationService* service,
                                                    std::shared_ptr<const ApiKeys> api_keys);

}  // namespace tidal

#endif  // TIDAL_SERVER_GRPC_INFERENCE_SERVICE_H_
