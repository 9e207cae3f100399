// A model being served: folder → engine → loop → service, put together and taken apart in order.
#ifndef TIDAL_SERVER_GENERATION_MODEL_RUNTIME_H_
#define TIDAL_SERVER_GENERATION_MODEL_RUNTIME_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "scheduler/serving_loop.h"
#include "server/config/server_config.h"
#include "server/generation/generation_service.h"
#include "server/generation/served_model.h"
#include "server/observe/metrics.h"
#include "server/ranks/load_engine.h"

namespace tidal {

struct RuntimeHooks {
  std::function<void(const GenerationSummary&)> on_request_end;
  std::function<void(const absl::Status&)> on_failure;  // the model broke; on the loop's thread
};

// Thread-safe once loaded.
class ModelRuntime {
 public:
  // Loads the model, takes all memory, starts the loop. Errors name the flag, file or field.
  static absl::StatusOr<std::unique_ptr<ModelRuntime>> Load(const ModelOptions& options,
                                                            RuntimeHooks hooks);
  // Stops the loop. Every generation must have been read to its end, or soon be.
  ~ModelRuntime();

  // Runs a first request, dense and sparse.
  absl::Status WarmUp();

  const ServedModel& model() const { return model_; }
  ServingLoop& loop() { return *loop_; }
  GenerationService& service() { return *service_; }
  Metrics& metrics() { return *metrics_; }

 private:
  ModelRuntime() = default;

  ServedModel model_;
  LoadedEngine engine_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<ServingLoop> loop_;
  std::unique_ptr<GenerationService> service_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_MODEL_RUNTIME_H_
