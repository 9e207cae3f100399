// The Engine: one model on one back end, running steps.
#ifndef TIDAL_ENGINE_MODEL_RUNNER_H_
#define TIDAL_ENGINE_MODEL_RUNNER_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/attention_profile.h"
#include "engine/decoder_model.h"
#include "engine/engine.h"
#include "engine/input_batch.h"
#include "engine/kv_cache.h"
#include "engine/memory_plan.h"
#include "engine/model_config.h"
#include "engine/sampler.h"
#include "engine/step.h"
#include "engine/weights.h"
#include "kernels/backend.h"

namespace tidal {

class ModelRunner : public Engine {
 public:
  // Engine::Create() with the attention settings given instead of the config's profile.
  static absl::StatusOr<std::unique_ptr<ModelRunner>> Load(const EngineConfig& config,
                                                           const ResolvedAttention& resolved,
                                                           std::unique_ptr<Backend> backend);

  absl::StatusOr<StepOutput> Execute(const StepInput& input) override;
  const EngineInfo& info() const override { return info_; }
  void FillKvCacheWithRandomNumbers() override;

  // The parts of Execute() before sampling, so that a test can run them one by one: Pack(), then
  // model()'s. Sequences are in the order of batch().order().
  const Batch& Pack(const StepInput& input);
  const InputBatch& batch() const { return batch_; }
  DecoderModel& model() { return *model_; }
  const KvCache& kv_cache() const { return kv_cache_; }
  Backend& backend() { return *backend_; }
  const ModelConfig& model_config() const { return config_; }

 private:
  explicit ModelRunner(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}

  void CheckInput(const StepInput& input) const;
  void CheckSequence(const ScheduledSequence& sequence) const;
  absl::Status TakeMemory(const EngineConfig& config, const ResolvedAttention& attention,
                          ModelWeights weights, int64_t free_before_weights);
  absl::StatusOr<StepOutput> RunStep(const StepInput& input);
  absl::StatusOr<StepOutput> RunInHalves(const StepInput& input);
  int64_t ScoredTokens(const StepInput& input) const;
  void CountStep(const StepInput& input, const BatchShape& shape, StepStats* stats) const;

  std::unique_ptr<Backend> backend_;  // first: what follows lives in its memory
  ModelConfig config_;
  MemoryPlan plan_ = {};
  int64_t max_scored_tokens_ = 0;  // of one step
  MemoryUse memory_use_;
  EngineInfo info_ = {};
  KvCache kv_cache_;
  InputBatch batch_;
  std::unique_ptr<DecoderModel> model_;
  Sampler sampler_;
  absl::Status status_;  // of the first step that failed
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_MODEL_RUNNER_H_
