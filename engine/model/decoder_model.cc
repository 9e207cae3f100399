#include "engine/model/decoder_model.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/model/rope_table.h"

namespace tidal {

DecoderModel::DecoderModel(const ModelConfig& config, const SparseAttentionConfig& attention,
                           int32_t max_logit_rows, ModelWeights weights, const SequenceSlots& slots,
                           Backend* backend)
    : config_(config),
      attention_(attention),
      slots_(slots),
      backend_(backend),
      matmul_type_(backend->info().matmul_type),
      softmax_scale_(1.0f / std::sqrt(static_cast<float>(config.head_dim))),
      max_logit_rows_(max_logit_rows),
      weights_(std::move(weights)) {
  // Those that score for one set: all heads are in a shared one.
  const Shard& shard = config.shard;
  const bool shared = attention.granularity == SelectionGranularity::kShared;
  const int32_t together = shared ? shard.size : shard.kv_replicas;
  scoring_ranks_ = {shard.rank / together * together, together};
}

absl::StatusOr<std::unique_ptr<DecoderModel>> DecoderModel::Create(
    const ModelConfig& config, const SparseAttentionConfig& attention, const MemoryPlan& plan,
    ModelWeights weights, const SequenceSlots& slots, Backend* backend) {
  std::unique_ptr<DecoderModel> model(new DecoderModel(config, attention, plan.max_sampled_tokens,
                                                       std::move(weights), slots, backend));
  TIDAL_ASSIGN_OR_RETURN(model->layer_plan_,
                         ParseLayerPlan(attention.pattern, config.num_layers, "pattern"));
  const std::vector<float> rope = MakeRopeTable(plan.max_model_len, config.head_dim, config.rope);
  const auto rope_bytes = static_cast<int64_t>(rope.size() * sizeof(float));
  TIDAL_ASSIGN_OR_RETURN(model->rope_, DeviceBuffer::Allocate(backend, rope_bytes, "rope table"));
  backend->CopyToDevice(model->rope_.As<void>(), rope.data(), rope_bytes);
  TIDAL_ASSIGN_OR_RETURN(model->activations_, Activations::Create(config, plan, backend));
  if (model->layer_plan_.has_reuse()) {
    const int32_t sets =
        attention.granularity == SelectionGranularity::kShared ? 1 : config.num_kv_heads;
    TIDAL_ASSIGN_OR_RETURN(
        model->selection_,
        TokenSelectionBuffer::Create(plan.max_decode_rows, sets, plan.max_scored_tokens,
                                     attention.granularity, backend));
  }
  if (std::string error = backend->Synchronize(); !error.empty()) {
    return absl::UnavailableError(error);
  }
  return model;
}

float* DecoderModel::Forward(const Batch& batch, const KvCache& cache, PromptLogits prompt_logits) {
  PoisonSelection(batch);
  if (batch.graph_key != 0 && backend_->RunGraph(batch.graph_key)) {
    return activations_.logits.As<float>();
  }
  RunLayers(batch, cache);
  ComputePromptLogits(batch, prompt_logits);
  return ComputeLogits(batch);
}

std::string DecoderModel::Record(const Batch& batch, const KvCache& cache) {
  RunLayers(batch, cache);
  ComputeLogits(batch);
  backend_->BeginGraph(batch.graph_key);
  RunLayers(batch, cache);
  ComputeLogits(batch);
  return backend_->EndGraph();
}

void DecoderModel::RunLayers(const Batch& batch, const KvCache& cache) {
  Embed(batch);
  for (int32_t layer = 0; layer < config_.num_layers; ++layer) RunLayer(layer, batch, cache);
}

void DecoderModel::PoisonSelection(const Batch& batch) {
  if (poison_selection_ && batch.shape.sparse_rows > 0) {
    selection_.Poison(batch.shape.sparse_rows, batch.shape.scored_tokens);
  }
}

void DecoderModel::Embed(const Batch& batch) {
  const BatchShape& shape = batch.shape;
  backend_->UpdateTables({.to = slots_.block_tables(),
                          .updates = batch.table_updates,
                          .count = batch.num_table_updates,
                          .max_count = shape.max_table_updates});
  if (shape.decode_rows() > 0) {
    backend_->PlanDecode({.sequence_slots = batch.sequence_slots,
                          .context_lens = batch.context_lens,
                          .token_budgets = batch.token_budgets,
                          .row_begins = batch.row_begins,
                          .rows = shape.decode_rows()});
  }
  backend_->Embedding({.table = weights_.embedding.As<bfloat16>(),
                       .token_ids = batch.token_ids,
                       .out = activations_.residual.As<float>(),
                       .tokens = shape.num_tokens,
                       .hidden = config_.hidden_size,
                       .last_tokens = slots_.last_tokens()});
}

void DecoderModel::RunLayer(int32_t layer, const Batch& batch, const KvCache& cache) {
  const LayerWeights& weights = weights_.layers[layer];
  const PagedKvCache kv = cache.layer(layer);
  const BatchShape& shape = batch.shape;
  const bool last = layer + 1 == config_.num_layers;

  Project(layer, batch, kv);
  // K and V are stored; nobody reads the rest.
  if (last && shape.logit_rows + shape.prompt_rows == 0) return;
  Attend(layer, batch, kv);

  const DeviceBuffer *attention = &activations_.attention, *residual = &activations_.residual;
  int32_t rows = shape.num_tokens;
  // Only the rows that need logits go on, unless those of prompts are among them: there is no
  // memory to part with so many.
  if (last && shape.prompt_rows == 0 && shape.logit_rows < rows) {
    rows = shape.logit_rows;
    GatherRows(batch.logit_rows, rows, *attention, activations_.last_attention,
               static_cast<int64_t>(config_.q_size() * SizeOf(matmul_type_)));
    GatherRows(batch.logit_rows, rows, *residual, activations_.last_residual,
               static_cast<int64_t>(config_.hidden_size * sizeof(float)));
    attention = &activations_.last_attention;
    residual = &activations_.last_residual;
  }
  Output(weights.o, attention->As<void>(), residual->As<float>(), rows);
  AddMlp(weights, residual->As<float>(), rows);
}

void DecoderModel::GatherRows(const int32_t* rows, int32_t count, const DeviceBuffer& from,
                              const DeviceBuffer& to, int64_t row_bytes) {
  backend_->GatherRows({.x = from.As<void>(),
                        .rows = rows,
                        .out = to.As<void>(),
                        .count = count,
                        .row_bytes = row_bytes});
}

void DecoderModel::Norm(const DeviceBuffer& weight, float* residual, int32_t rows,
                        bool after_output) {
  if (after_output && config_.shard.size > 1) {
    backend_->ReduceNorm({.partial = activations_.partial.As<float>(),
                          .residual = residual,
                          .weight = weight.As<bfloat16>(),
                          .out = activations_.normed.As<void>(),
                          .out_type = matmul_type_,
                          .tokens = rows,
                          .hidden = config_.hidden_size,
                          .epsilon = config_.rms_norm_eps});
    return;
  }
  backend_->RmsNorm({.x = residual,
                     .weight = weight.As<bfloat16>(),
                     .out = activations_.normed.As<void>(),
                     .out_type = matmul_type_,
                     .tokens = rows,
                     .hidden = config_.hidden_size,
                     .epsilon = config_.rms_norm_eps});
}

void DecoderModel::MatMul(const Projection& projection, const void* x, float* y, int32_t rows,
                          bool accumulate) {
  backend_->MatMul({.weight = projection.weight.get(),
                    .x = x,
                    .y = y,
                    .tokens = rows,
                    .accumulate = accumulate,
                    .bias = projection.bias.As<float>()});
}

void DecoderModel::Output(const Projection& projection, const void* x, float* residual,
                          int32_t rows) {
  if (config_.shard.size > 1) {
    MatMul(projection, x, activations_.partial.As<float>(), rows, /*accumulate=*/false);
  } else {
    MatMul(projection, x, residual, rows, /*accumulate=*/true);
  }
}

// Norm, fused q, k, v projection, rotary positions; k and v into the cache.
void DecoderModel::Project(int32_t layer, const Batch& batch, PagedKvCache kv) {
  const LayerWeights& weights = weights_.layers[layer];
  const int32_t tokens = batch.shape.num_tokens;
  Norm(weights.input_norm, activations_.residual.As<float>(), tokens, /*after_output=*/layer > 0);
  MatMul(weights.qkv, activations_.normed.As<void>(), activations_.qkv.As<float>(), tokens,
         /*accumulate=*/false);
  backend_->RopeStoreKv({.qkv = activations_.qkv.As<float>(),
                         .cos_sin = rope_.As<float>(),
                         .positions = batch.positions,
                         .slot_mapping = batch.slot_mapping,
                         .q = activations_.q.As<bfloat16>(),
                         .kv = kv,
                         .tokens = tokens,
                         .num_heads = config_.num_heads,
                         .q_norm = weights.q_norm.As<bfloat16>(),
                         .k_norm = weights.k_norm.As<bfloat16>(),
                         .norm_epsilon = config_.rms_norm_eps});
}

void DecoderModel::Attend(int32_t layer, const Batch& batch, PagedKvCache kv) {
  const BatchShape& shape = batch.shape;
  if (shape.decode_rows() > 0) AttendDecodeRows(layer, batch, kv);
  if (shape.chunks > 0) {
    const int32_t row = shape.decode_rows();
    const int64_t offset = int64_t{row} * config_.q_size();
    backend_->PrefillAttention(
        {.q = activations_.q.As<bfloat16>() + offset,
         .kv = kv,
         .tables = TablesFrom(batch, row),
         .cu_query_lens = batch.cu_query_lens,
         .out = activations_.attention.As<char>() + offset * SizeOf(matmul_type_),
         .out_type = matmul_type_,
         .num_sequences = shape.chunks,
         .num_heads = config_.num_heads,
         .max_query_len = shape.max_query_len,
         .max_context_len = shape.max_chunk_context,
         .softmax_scale = softmax_scale_,
         .window = config_.window(layer)});
  }
}

// Of the batch's sequences from `row` on.
BlockTables DecoderModel::TablesFrom(const Batch& batch, int32_t row) const {
  return {slots_.block_tables(), slots_.table_stride(), batch.sequence_slots + row,
          batch.context_lens + row};
}

void DecoderModel::AttendDecodeRows(int32_t layer, const Batch& batch, PagedKvCache kv) {
  const LayerRole role = layer_plan_.roles[layer];
  const BatchShape& shape = batch.shape;
  const PagedDecodeParams rows = {.q = activations_.q.As<bfloat16>(),
                                  .kv = kv,
                                  .tables = TablesFrom(batch, 0),
                                  .out = activations_.attention.As<void>(),
                                  .out_type = matmul_type_,
                                  .rows = shape.decode_rows(),
                                  .num_heads = config_.num_heads,
                                  .max_context_len = shape.max_decode_context,
                                  .softmax_scale = softmax_scale_,
                                  .window = config_.window(layer)};
  if (role == LayerRole::kDense || !shape.selects) {
    backend_->PagedDecode(rows);
    return;
  }
  const TokenSelection selection = selection_.View(batch.row_begins);
  if (role == LayerRole::kSelect || role == LayerRole::kAnchor) {
    const SelectTokensParams select = {selection, batch.token_budgets, batch.recency,
                                       attention_.sinks, attention_.score};
    backend_->ScoringDecode(rows, select);
    if (scoring_ranks_.count > 1) backend_->ReduceScores(rows, select, scoring_ranks_);
    backend_->SelectTokens(rows, select);
  }
  if (role == LayerRole::kReuse || role == LayerRole::kAnchor) {
    backend_->SparseDecode({.q = rows.q,
                            .kv = kv,
                            .tables = rows.tables,
                            .token_budgets = batch.token_budgets,
                            .selection = selection,
                            .out = rows.out,
                            .out_type = rows.out_type,
                            .rows = rows.rows,
                            .num_heads = rows.num_heads,
                            .max_context_len = rows.max_context_len,
                            .softmax_scale = softmax_scale_});
  }
}

void DecoderModel::AddMlp(const LayerWeights& weights, float* residual, int32_t rows) {
  Norm(weights.post_attention_norm, residual, rows, /*after_output=*/true);
  MatMul(weights.gate_up, activations_.normed.As<void>(), activations_.gate_up.As<float>(), rows,
         /*accumulate=*/false);
  backend_->SwiGlu({activations_.gate_up.As<float>(), activations_.mlp.As<void>(), matmul_type_,
                    rows, config_.intermediate_size});
  Output(weights.down, activations_.mlp.As<void>(), residual, rows);
}

// All rows have gone through the last layer, and the ranks' parts of its output are added up for
// all of them at once.
void DecoderModel::ComputePromptLogits(const Batch& batch, PromptLogits prompt_logits) {
  const BatchShape& shape = batch.shape;
  if (shape.prompt_rows == 0) return;
  Norm(weights_.final_norm, activations_.residual.As<float>(), shape.num_tokens,
       /*after_output=*/true);
  for (int32_t first = 0; first < shape.prompt_rows; first += max_logit_rows_) {
    const int32_t count = std::min(max_logit_rows_, shape.prompt_rows - first);
    prompt_logits(LogitsOfNormed(batch.prompt_rows + first, count), first, count);
  }
}

float* DecoderModel::ComputeLogits(const Batch& batch) {
  const int32_t rows = batch.shape.logit_rows;
  if (rows == 0) return activations_.logits.As<float>();
  if (batch.shape.prompt_rows > 0) return LogitsOfNormed(batch.logit_rows, rows);
  const DeviceBuffer& residual =
      rows < batch.shape.num_tokens ? activations_.last_residual : activations_.residual;
  Norm(weights_.final_norm, residual.As<float>(), rows, /*after_output=*/true);
  return Logits(activations_.normed.As<void>(), rows);
}

// They are gathered where the last residual rows would lie, which have as many and as large
// elements at least.
float* DecoderModel::LogitsOfNormed(const int32_t* rows, int32_t count) {
  const DeviceBuffer& gathered = activations_.last_residual;
  GatherRows(rows, count, activations_.normed, gathered,
             static_cast<int64_t>(config_.hidden_size * SizeOf(matmul_type_)));
  return Logits(gathered.As<void>(), count);
}

float* DecoderModel::Logits(const void* normed, int32_t rows) {
  float* const logits = activations_.logits.As<float>();
  if (config_.shard.size == 1) {
    MatMul(weights_.lm_head, normed, logits, rows, /*accumulate=*/false);
    return logits;
  }
  float* const part = activations_.part_logits.As<float>();
  MatMul(weights_.lm_head, normed, part, rows, /*accumulate=*/false);
  backend_->GatherColumns({.part = part,
                           .out = logits,
                           .rows = rows,
                           .part_columns = weights_.lm_head.weight->out_features(),
                           .columns = config_.vocab_size});
  return logits;
}

}  // namespace tidal
