#include "engine/model_runner.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/safetensors.h"
#include "engine/weights.h"

namespace tidal {
namespace {

EngineInfo MakeInfo(const ModelConfig& config, const MemoryPlan& plan,
                    const ResolvedAttention& attention, int64_t weight_bytes,
                    const Backend& backend, bool tidal_available) {
  EngineInfo info = {};
  info.architecture = config.architecture;
  info.device = backend.info().device;
  info.num_layers = config.num_layers;
  info.hidden_size = config.hidden_size;
  info.num_heads = config.num_heads;
  info.num_kv_heads = config.num_kv_heads;
  info.head_dim = config.head_dim;
  info.vocab_size = config.vocab_size;
  info.max_model_len = plan.max_model_len;
  info.block_size = plan.block_size;
  info.num_blocks = plan.num_blocks;
  info.max_num_seqs = plan.max_num_seqs;
  info.max_num_batched_tokens = plan.max_num_batched_tokens;
  info.max_token_budget = plan.max_token_budget;
  info.weight_bytes = weight_bytes;
  info.kv_bytes_per_token = plan.kv_bytes_per_token;
  info.attention = attention.config;
  // A budget above the largest selects everything anyway, or may not be asked for.
  info.attention.token_budget = std::min(attention.config.token_budget, plan.max_token_budget);
  info.tidal_available = tidal_available;
  info.attention_source = attention.source;
  return info;
}

BackendLimits MakeLimits(const ModelConfig& config, const MemoryPlan& plan) {
  BackendLimits limits = {};
  limits.max_tokens = plan.max_num_batched_tokens;
  limits.max_decode_rows = plan.max_decode_rows;
  limits.max_context_len = plan.max_model_len;
  limits.num_heads = config.num_heads;
  limits.num_kv_heads = config.num_kv_heads;
  limits.head_dim = config.head_dim;
  limits.max_token_budget = plan.max_token_budget;
  limits.vocab = config.vocab_size;
  return limits;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineConfig& config,
                                                       std::unique_ptr<Backend> backend) {
  TIDAL_ASSIGN_OR_RETURN(const ModelConfig model, ReadModelConfig(config.model_path));
  TIDAL_ASSIGN_OR_RETURN(
      const ResolvedAttention attention,
      ResolveAttention(config.attention_profile, config.model_path, model.num_layers));
  return ModelRunner::Load(config, attention, std::move(backend));
}

absl::StatusOr<std::unique_ptr<ModelRunner>> ModelRunner::Load(const EngineConfig& config,
                                                               const ResolvedAttention& attention,
                                                               std::unique_ptr<Backend> backend) {
  std::unique_ptr<ModelRunner> runner(new ModelRunner(std::move(backend)));
  Backend* device = runner->backend_.get();
  TIDAL_ASSIGN_OR_RETURN(runner->config_, ReadModelConfig(config.model_path));
  TIDAL_ASSIGN_OR_RETURN(runner->plan_, PlanMemory(runner->config_, config));
  const MemoryPlan& plan = runner->plan_;
  if (!device->Reserve(MakeLimits(runner->config_, plan))) {
    return absl::ResourceExhaustedError(
        absl::StrCat("scratch memory for steps of max_num_batched_tokens ",
                     plan.max_num_batched_tokens, " and max_num_seqs ", plan.max_num_seqs,
                     " does not fit into the memory of ", device->info().device));
  }
  TIDAL_ASSIGN_OR_RETURN(const std::unique_ptr<ModelTensors> tensors,
                         ModelTensors::Open(config.model_path));
  TIDAL_ASSIGN_OR_RETURN(ModelWeights weights, LoadWeights(runner->config_, *tensors, device));
  const int64_t weight_bytes = weights.BytesPerStep();
  TIDAL_ASSIGN_OR_RETURN(runner->kv_cache_, KvCache::Create(runner->config_, plan, device));
  TIDAL_ASSIGN_OR_RETURN(runner->batch_, InputBatch::Create(plan, device));
  TIDAL_ASSIGN_OR_RETURN(runner->model_, LlamaModel::Create(runner->config_, attention.config, plan,
                                                            std::move(weights), device));
  TIDAL_ASSIGN_OR_RETURN(runner->sampler_,
                         Sampler::Create(plan, runner->config_.vocab_size, device));
  runner->info_ = MakeInfo(runner->config_, plan, attention, weight_bytes, *device,
                           runner->model_->layer_plan().has_reuse());
  return runner;
}

absl::StatusOr<StepOutput> ModelRunner::Execute(const StepInput& input) {
  if (!status_.ok()) return status_;
  const auto start = std::chrono::steady_clock::now();
  absl::StatusOr<StepOutput> output = RunStep(input);
  if (!output.ok()) {
    status_ = output.status();
    return status_;
  }
  output->stats.execute_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return output;
}

absl::StatusOr<StepOutput> ModelRunner::RunStep(const StepInput& input) {
  StepOutput output;
  output.sequences.resize(input.sequences.size());
  if (input.sequences.empty()) return output;

  const Batch& batch = Pack(input);
  float* logits = model_->Forward(batch, kv_cache_);
  std::vector<const ScheduledSequence*> rows;
  for (int32_t index : batch_.logit_order()) rows.push_back(&input.sequences[index]);
  TIDAL_ASSIGN_OR_RETURN(std::vector<SampledToken> tokens, sampler_.Sample(rows, logits));

  for (size_t row = 0; row < tokens.size(); ++row) {
    output.sequences[batch_.logit_order()[row]].sampled = std::move(tokens[row]);
  }
  for (int32_t row = 0; row < batch.shape.sparse_rows; ++row) {
    output.sequences[batch_.order()[row]].ran_sparse = true;
  }
  CountStep(input, batch.shape, &output.stats);
  return output;
}

const Batch& ModelRunner::Pack(const StepInput& input) {
  CheckInput(input);
  return batch_.Pack(input, {info_.tidal_available, info_.attention.recency_fraction});
}

void ModelRunner::CheckInput(const StepInput& input) const {
  TIDAL_CHECK(input.sequences.size() <= static_cast<size_t>(plan_.max_num_seqs));
  int64_t tokens = 0;
  for (const ScheduledSequence& sequence : input.sequences) {
    CheckSequence(sequence);
    tokens += sequence.num_new_tokens;
  }
  TIDAL_CHECK(tokens <= plan_.max_num_batched_tokens);
}

void ModelRunner::CheckSequence(const ScheduledSequence& sequence) const {
  const int64_t end = int64_t{sequence.num_computed_tokens} + sequence.num_new_tokens;
  const auto size = static_cast<int64_t>(sequence.tokens.size());
  TIDAL_CHECK(sequence.num_computed_tokens >= 0 && sequence.num_new_tokens >= 1);
  TIDAL_CHECK(end <= size && end <= plan_.max_model_len);
  TIDAL_CHECK(sequence.num_prompt_tokens >= 0 && sequence.num_prompt_tokens <= size);
  TIDAL_CHECK(sequence.sampling != nullptr);
  TIDAL_CHECK(!sequence.is_decode || sequence.num_new_tokens == 1);
  TIDAL_CHECK(!sequence.needs_token || end == size);
  const int64_t blocks = (end + plan_.block_size - 1) / plan_.block_size;
  TIDAL_CHECK(blocks <= static_cast<int64_t>(sequence.block_table.size()));
  for (int64_t i = 0; i < blocks; ++i) {
    TIDAL_CHECK(sequence.block_table[i] >= 0 && sequence.block_table[i] < plan_.num_blocks);
  }
  for (int64_t i = sequence.num_computed_tokens; i < end; ++i) {
    TIDAL_CHECK(sequence.tokens[i] >= 0 && sequence.tokens[i] < config_.vocab_size);
  }
  if (sequence.is_decode && info_.tidal_available &&
      sequence.attention.RunsSparse(static_cast<int32_t>(end))) {
    TIDAL_CHECK(sequence.attention.token_budget >= 1 &&
                sequence.attention.token_budget <= plan_.max_token_budget);
  }
}

void ModelRunner::CountStep(const StepInput& input, const BatchShape& shape,
                            StepStats* stats) const {
  stats->prefill_tokens = shape.num_tokens - shape.decode_rows();
  stats->decode_rows = shape.decode_rows();
  stats->sparse_rows = shape.sparse_rows;
  // Tokens whose K and V a decode row reads, over all layers.
  int64_t rows_read = 0;
  for (int32_t row = 0; row < shape.decode_rows(); ++row) {
    const ScheduledSequence& sequence = input.sequences[batch_.order()[row]];
    const int64_t context = int64_t{sequence.num_computed_tokens} + sequence.num_new_tokens;
    const bool sparse = row < shape.sparse_rows;
    if (sparse) stats->selected_tokens += sequence.attention.token_budget;
    for (LayerRole role : model_->layer_plan().roles) {
      const bool reads_set = role == LayerRole::kReuse || role == LayerRole::kAnchor;
      if (!sparse || role != LayerRole::kReuse) rows_read += context;
      if (sparse && reads_set) rows_read += sequence.attention.token_budget;
    }
  }
  stats->kv_bytes_read = rows_read * (plan_.kv_bytes_per_token / config_.num_layers);
}

}  // namespace tidal
