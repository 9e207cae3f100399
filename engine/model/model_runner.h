// The Engine: one model on one back end, running steps.
#ifndef TIDAL_ENGINE_MODEL_MODEL_RUNNER_H_
#define TIDAL_ENGINE_MODEL_MODEL_RUNNER_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "engine/engine.h"
#include "engine/memory/kv_cache.h"
#include "engine/memory/memory_plan.h"
#include "engine/model/attention_profile.h"
#include "engine/model/decoder_model.h"
#include "engine/model/weights.h"
#include "engine/step.h"
#include "engine/step/input_batch.h"
#include "engine/step/owned_step.h"
#include "engine/step/prompt_scorer.h"
#include "engine/step/sampler.h"
#include "engine/step/sequence_slots.h"
#include "kernels/backend.h"

namespace tidal {

class ModelRunner : public Engine {
 public:
  // Engine::Create() for the model that the folder's config.json describes, with the attention
  // settings given instead of the config's profile. With a link, this rank's part of it; every rank
  // then launches the same steps.
  static absl::StatusOr<std::unique_ptr<ModelRunner>> Load(const EngineConfig& config,
                                                           const ModelConfig& model,
                                                           const ResolvedAttention& resolved,
                                                           std::unique_ptr<Backend> backend,
                                                           RankLink* link = nullptr);

  void Launch(const StepInput& input) override;
  void Sample(const StepMasks& masks) override;
  absl::StatusOr<StepOutput> Collect() override;
  bool can_run_ahead() const override { return backend_->info().asynchronous; }
  const EngineInfo& info() const override { return info_; }
  void FillKvCacheWithRandomNumbers() override;

  // The parts of a step before sampling, so that a test can run them one by one: Pack(), then
  // model()'s. Sequences are in the order of batch().order(). The input is not checked.
  const Batch& Pack(const StepInput& input);
  const InputBatch& batch() const { return batch_; }
  DecoderModel& model() { return *model_; }
  const KvCache& kv_cache() const { return kv_cache_; }
  Backend& backend() { return *backend_; }
  const ModelConfig& model_config() const { return config_; }

 private:
  explicit ModelRunner(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}

  // A step between Launch() and Collect().
  struct LaunchedStep {
    std::chrono::steady_clock::time_point start;
    StepOutput output;  // complete but for tokens and times
    SampledRows rows;
    std::vector<int32_t> row_order;  // index in output.sequences of each row
    SampledRows prompt_rows;
    std::vector<int32_t> prompt_order;  // the same of each prompt row
    Ticket done = 0;
    bool awaits_masks = false;
  };

  void CheckInput(const StepInput& input) const;
  void CheckSequence(const ScheduledSequence& sequence) const;
  void CheckPromptSpan(const ScheduledSequence& sequence) const;
  absl::Status TakeMemory(const EngineConfig& config, const ResolvedAttention& attention,
                          ModelWeights weights, int64_t free_before_weights, RankLink* link);
  // Records a step of every size and kind that there can be, where the back end has graphs. Gives
  // EngineInfo::graphs; a step that cannot be recorded is no error.
  absl::StatusOr<std::string> RecordSteps();
  bool RunsInParts(const StepInput& input) const;
  // Enqueues the sequences of `input`, which are those of the newest step from `first` on.
  void EnqueueParts(const StepInput& input, int32_t first);
  // The same in one part: up to the logits, and what follows them.
  void EnqueueForward(const StepInput& input, int32_t first);
  void EnqueueSampling(int32_t first);
  // Once all of the newest step is enqueued.
  void EndStep();
  // Tokens and log probabilities of a step that has run.
  void TakeResults(LaunchedStep* step) const;
  int64_t ScoredTokens(const StepInput& input) const;
  bool RunsSparse(const ScheduledSequence& sequence) const;
  StepStats CountStep(const StepInput& input, const BatchShape& shape) const;

  std::unique_ptr<Backend> backend_;  // first: what follows lives in its memory
  ModelConfig config_;
  MemoryPlan plan_ = {};
  MemoryUse memory_use_;
  LayerCounts layer_counts_;
  int32_t window_ = 0;  // of the layers that have one
  EngineInfo info_ = {};
  KvCache kv_cache_;
  SequenceSlots slots_;
  InputBatch batch_;
  std::unique_ptr<DecoderModel> model_;
  Sampler sampler_;
  PromptScorer scorer_;
  std::deque<LaunchedStep> launched_;  // oldest first
  float* logits_ = nullptr;            // of the batch that ran last
  // A masked step that runs in parts, which share the logits' memory, runs once its masks are here.
  std::unique_ptr<OwnedStep> waiting_;
  std::chrono::steady_clock::time_point last_collected_;
  absl::Status status_;  // of the first step that failed
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_MODEL_MODEL_RUNNER_H_
