// A decoder-only transformer: a stack of RMSNorm, rotary grouped-query attention and SwiGLU layers.
// ModelConfig says which biases, norms and attention windows it has.
#ifndef TIDAL_ENGINE_MODEL_DECODER_MODEL_H_
#define TIDAL_ENGINE_MODEL_DECODER_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "engine/attention_config.h"
#include "engine/checkpoint/model_config.h"
#include "engine/memory/kv_cache.h"
#include "engine/memory/memory_plan.h"
#include "engine/model/activations.h"
#include "engine/model/layer_plan.h"
#include "engine/model/token_selection.h"
#include "engine/model/weights.h"
#include "engine/step/input_batch.h"
#include "engine/step/sequence_slots.h"
#include "kernels/backend.h"

namespace tidal {

// Enqueues the operations of a step on the back end and waits for none. Not thread-safe.
// The batch is not empty and within the memory plan.
class DecoderModel {
 public:
  // Takes the memory of activations and selection. The slots and the back end outlive the model.
  static absl::StatusOr<std::unique_ptr<DecoderModel>> Create(
      const ModelConfig& config, const SparseAttentionConfig& attention, const MemoryPlan& plan,
      ModelWeights weights, const SequenceSlots& slots, Backend* backend);

  // What is enqueued for the logits [count, vocab] of the batch's prompt rows from `first` on,
  // whose memory the next ones take.
  using PromptLogits = absl::FunctionRef<void(float* logits, int32_t first, int32_t count)>;

  // From token ids to logits [batch.shape.logit_rows, vocab]: Embed, RunLayer of every layer in
  // order, ComputePromptLogits, ComputeLogits. Writes K and V of the new tokens into the cache.
  // Replays the batch's graph where one is recorded.
  float* Forward(const Batch& batch, const KvCache& cache, PromptLogits prompt_logits);
  // Runs the batch once, for the back end to measure and choose algorithms of its shape, then
  // records it under its key. Says why it cannot be recorded; else nothing.
  std::string Record(const Batch& batch, const KvCache& cache);

  // The parts of Forward(), so that a test can look between them.
  void PoisonSelection(const Batch& batch);  // if it is on
  void Embed(const Batch& batch);            // new table entries and the plan of decode rows, too
  void RunLayer(int32_t layer, const Batch& batch, const KvCache& cache);
  // Those of prompt rows, of any number, in tiles of as many rows as there is memory for.
  void ComputePromptLogits(const Batch& batch, PromptLogits prompt_logits);
  float* ComputeLogits(const Batch& batch);

  const LayerPlan& layer_plan() const { return layer_plan_; }
  // After a selecting layer: its sets. Rows are the batch's sparse rows.
  const TokenSelectionBuffer& selection() const { return selection_; }
  // After RunLayer(): what that layer computed.
  const Activations& activations() const { return activations_; }
  // Forward() poisons the sets of the step before. On in debug builds.
  void set_poison_selection(bool on) { poison_selection_ = on; }

 private:
  DecoderModel(const ModelConfig& config, const SparseAttentionConfig& attention,
               int32_t max_logit_rows, ModelWeights weights, const SequenceSlots& slots,
               Backend* backend);

  void Project(int32_t layer, const Batch& batch, PagedKvCache kv);
  void RunLayers(const Batch& batch, const KvCache& cache);
  // The residual stream, normed, into `normed`: after an output of attention or MLP, which ranks
  // add to it here.
  void Norm(const DeviceBuffer& weight, float* residual, int32_t rows, bool after_output);
  void MatMul(const Projection& projection, const void* x, float* y, int32_t rows, bool accumulate);
  // Adds an output to the residual stream; one of several ranks leaves its part of it to Norm().
  void Output(const Projection& projection, const void* x, float* residual, int32_t rows);
  // Norm and MLP, added to the residual stream.
  void AddMlp(const LayerWeights& weights, float* residual, int32_t rows);
  void Attend(int32_t layer, const Batch& batch, PagedKvCache kv);
  BlockTables TablesFrom(const Batch& batch, int32_t row) const;
  void AttendDecodeRows(int32_t layer, const Batch& batch, PagedKvCache kv);
  // `count` rows of `from`.
  void GatherRows(const int32_t* rows, int32_t count, const DeviceBuffer& from,
                  const DeviceBuffer& to, int64_t row_bytes);
  // The head's product with rows of `normed`, all of which the final norm has made.
  float* LogitsOfNormed(const int32_t* rows, int32_t count);
  float* Logits(const void* normed, int32_t rows);

  ModelConfig config_;
  SparseAttentionConfig attention_;
  LayerPlan layer_plan_;
  const SequenceSlots& slots_;
  Backend* backend_;
  DType matmul_type_;
  float softmax_scale_;
  int32_t max_logit_rows_;
  RankSpan scoring_ranks_;
  ModelWeights weights_;
  DeviceBuffer rope_;  // float [max_model_len, D], see rope_table.h
  Activations activations_;
  TokenSelectionBuffer selection_;
#ifdef NDEBUG
  bool poison_selection_ = false;
#else
  bool poison_selection_ = true;
#endif
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_MODEL_DECODER_MODEL_H_
