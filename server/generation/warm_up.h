// The first steps of a model: what is slow or broken shows here, not in the first request.
#ifndef TIDAL_SERVER_GENERATION_WARM_UP_H_
#define TIDAL_SERVER_GENERATION_WARM_UP_H_

#include "absl/status/status.h"
#include "engine/engine.h"
#include "scheduler/serving_loop.h"
#include "server/generation/generation_service.h"

namespace tidal {

// Runs a short request in full mode through the loop and, where the model has a plan, one whose
// decode steps are sparse. Blocks until both are done; an error says which failed and how.
// DATA_LOSS: the logits were no numbers.
absl::Status WarmUp(const EngineInfo& info, ServingLoop* loop, GenerationService* service);

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_WARM_UP_H_
