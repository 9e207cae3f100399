#include "engine/model/model_runner.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/checkpoint/shard.h"
#include "engine/model/weights.h"
#include "engine/parallel/rank_link.h"
#include "engine/parallel/ranked_engine.h"
#include "engine/step/graph_buckets.h"

namespace tidal {
namespace {

// Kept back for recorded steps: about twice what was measured, 34 KiB a layer and step on an H200.
constexpr int64_t kGraphBytesPerLayer = 64 << 10;

absl::StatusOr<ModelWeights> LoadOrMakeWeights(const ModelConfig& model, const EngineConfig& config,
                                               Backend* backend) {
  if (config.load_format == LoadFormat::kDummy) return MakeRandomWeights(model, backend);
  TIDAL_ASSIGN_OR_RETURN(const std::unique_ptr<ModelTensors> tensors,
                         ModelTensors::Open(config.model_path));
  return LoadWeights(model, *tensors, backend);
}

EngineInfo MakeInfo(const ModelConfig& config, const MemoryPlan& plan,
                    const ResolvedAttention& attention, int64_t weight_bytes,
                    const Backend& backend, bool tidal_available, std::vector<MemoryUse> memory,
                    const std::string& graphs) {
  EngineInfo info = {};
  static_cast<ModelShape&>(info) = WholeShape(config);
  info.num_ranks = config.shard.size;
  info.architecture = config.architecture;
  info.device = backend.info().name;
  info.eos_token_ids = config.eos_token_ids;
  info.max_model_len = plan.max_model_len;
  info.block_size = plan.block_size;
  info.num_blocks = plan.num_blocks;
  info.max_num_seqs = plan.max_num_seqs;
  info.max_num_batched_tokens = plan.max_num_batched_tokens;
  info.max_sampled_tokens = plan.max_sampled_tokens;
  info.max_token_budget = plan.max_token_budget;
  info.weight_bytes = weight_bytes;
  info.kv_bytes_per_token = plan.kv_bytes_per_token;
  info.attention = attention.config;
  // A budget above the largest selects everything anyway, or may not be asked for.
  info.attention.token_budget = std::min(attention.config.token_budget, plan.max_token_budget);
  info.tidal_available = tidal_available;
  info.tidal_chosen = tidal_available && attention.chosen;
  info.attention_source = attention.source;
  info.memory = std::move(memory);
  info.graphs = graphs;
  return info;
}

// The attention window of the layers that have one; else 0.
int32_t WindowOf(const ModelConfig& config) {
  const std::vector<int32_t>& windows = config.layer_windows;
  return windows.empty() ? 0 : *std::max_element(windows.begin(), windows.end());
}

BackendLimits MakeLimits(const ModelConfig& config, const MemoryPlan& plan) {
  BackendLimits limits = {};
  static_cast<ModelShape&>(limits) = config;
  limits.max_tokens = plan.max_num_batched_tokens;
  limits.max_decode_rows = plan.max_decode_rows;
  limits.max_sampled_rows = plan.max_sampled_tokens;
  limits.max_context_len = plan.max_model_len;
  limits.block_size = plan.block_size;
  limits.max_scored_tokens = plan.max_scored_tokens;
  limits.window = WindowOf(config);
  return limits;
}

// In the order of ranks.
absl::StatusOr<std::vector<MemoryUse>> MemoryOfRanks(RankLink* link, const MemoryUse& mine) {
  if (link == nullptr) return std::vector<MemoryUse>{mine};
  std::vector<MemoryUse> all(link->size());
  for (const auto part : {&MemoryUse::total, &MemoryUse::others, &MemoryUse::weights,
                          &MemoryUse::scratch, &MemoryUse::graphs, &MemoryUse::kv_cache}) {
    TIDAL_ASSIGN_OR_RETURN(const std::vector<int64_t> bytes, link->Gather(mine.*part));
    for (size_t rank = 0; rank < all.size(); ++rank) all[rank].*part = bytes[rank];
  }
  return all;
}

// Before any of them is read. RESOURCE_EXHAUSTED says by how much they are too large for this rank,
// and how many ranks would do.
absl::Status CheckWeightsFit(const ModelConfig& whole, Shard shard, const Backend& backend,
                             int64_t usable) {
  const auto bytes_of_rank = [&](int32_t ranks) {
    return WeightBytes(*ShardOf(whole, {0, ranks}), backend.info().matmul_type);
  };
  const bool shared = backend.info().shares_host_memory;  // by all ranks
  const int64_t needed = bytes_of_rank(shard.size) * (shared ? shard.size : 1);
  if (needed <= usable) return absl::OkStatus();
  std::string message =
      absl::StrCat("weights: ", needed, " bytes do not fit into the ", usable, " that ",
                   backend.info().name, " has for them: ", needed - usable, " are missing");
  if (!shared) {
    const std::vector<int32_t> possible = PossibleRanks(whole);
    const auto enough = std::find_if(possible.begin(), possible.end(),
                                     [&](int32_t ranks) { return bytes_of_rank(ranks) <= usable; });
    absl::StrAppend(&message, enough == possible.end()
                                  ? std::string("; no number of ranks would do")
                                  : absl::StrCat("; tensor_parallel_size ", *enough, " would do"));
  }
  return absl::ResourceExhaustedError(message);
}

// A window that no sequence outgrows is none.
void DropIdleWindows(int32_t max_model_len, ModelConfig* config) {
  for (int32_t& window : config->layer_windows) {
    if (window >= max_model_len) window = 0;
  }
}

ResolvedAttention WithWindows(ResolvedAttention attention, const ModelConfig& config) {
  const std::string pattern = PatternWithWindows(attention.config.pattern, config.layer_windows);
  if (pattern != attention.config.pattern) {
    attention.source += "; layers with a sliding window are dense in it";
  }
  attention.config.pattern = pattern;
  return attention;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineConfig& config,
                                                       std::unique_ptr<Backend> backend,
                                                       RankLink* link) {
  TIDAL_ASSIGN_OR_RETURN(const ModelConfig model, ReadModelConfig(config.model_path));
  TIDAL_ASSIGN_OR_RETURN(const ResolvedAttention attention,
                         ResolveAttention(config.attention_profile, config.model_path, model));
  TIDAL_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine,
                         ModelRunner::Load(config, model, attention, std::move(backend), link));
  if (link == nullptr || link->rank() > 0) return engine;
  return std::make_unique<RankedEngine>(std::move(engine), link);
}

absl::StatusOr<std::unique_ptr<ModelRunner>> ModelRunner::Load(const EngineConfig& config,
                                                               const ModelConfig& model,
                                                               const ResolvedAttention& resolved,
                                                               std::unique_ptr<Backend> backend,
                                                               RankLink* link) {
  std::unique_ptr<ModelRunner> runner(new ModelRunner(std::move(backend)));
  Backend* device = runner->backend_.get();
  const Shard shard = link == nullptr ? Shard() : Shard{link->rank(), link->size()};
  TIDAL_ASSIGN_OR_RETURN(runner->config_, ShardOf(model, shard));
  TIDAL_RETURN_IF_ERROR(
      ParseLayerPlan(resolved.config.pattern, runner->config_.num_layers, "pattern").status());
  TIDAL_ASSIGN_OR_RETURN(runner->plan_, PlanMemory(runner->config_, config));
  DropIdleWindows(runner->plan_.max_model_len, &runner->config_);
  const ResolvedAttention attention = WithWindows(resolved, runner->config_);
  if (std::string reason = device->WhyUnsupported(MakeLimits(runner->config_, runner->plan_));
      !reason.empty()) {
    return absl::UnimplementedError(absl::StrCat(config.model_path, "/config.json: ", reason));
  }
  const int64_t free_before_weights = device->memory().free_bytes;
  TIDAL_RETURN_IF_ERROR(CheckWeightsFit(model, shard, *device, free_before_weights));
  TIDAL_ASSIGN_OR_RETURN(ModelWeights weights, LoadOrMakeWeights(runner->config_, config, device));
  const int64_t weight_bytes = weights.BytesPerStep();
  TIDAL_RETURN_IF_ERROR(
      runner->TakeMemory(config, attention, std::move(weights), free_before_weights, link));
  runner->layer_counts_ = CountLayers(runner->model_->layer_plan(), runner->config_.layer_windows);
  runner->window_ = WindowOf(runner->config_);
  TIDAL_ASSIGN_OR_RETURN(const std::string graphs, runner->RecordSteps());
  TIDAL_ASSIGN_OR_RETURN(std::vector<MemoryUse> memory, MemoryOfRanks(link, runner->memory_use_));
  runner->info_ = MakeInfo(runner->config_, runner->plan_, attention, weight_bytes, *device,
                           runner->model_->layer_plan().has_reuse(), std::move(memory), graphs);
  return runner;
}

// Everything but the weights; the KV cache last, since it may take what is left.
absl::Status ModelRunner::TakeMemory(const EngineConfig& config, const ResolvedAttention& attention,
                                     ModelWeights weights, int64_t free_before_weights,
                                     RankLink* link) {
  const DeviceMemory memory = backend_->memory();
  memory_use_.total = memory.total_bytes;
  memory_use_.others = memory.total_bytes - free_before_weights;
  memory_use_.weights = free_before_weights - memory.free_bytes;
  const auto usable =
      static_cast<int64_t>(config.memory_utilization * static_cast<double>(memory.total_bytes));
  // Ranks have the same cache, as large as fits on each.
  TIDAL_ASSIGN_OR_RETURN(
      const int64_t most_kv_bytes,
      LeastOfRanks(link, config.kv_cache_bytes > 0
                             ? config.kv_cache_bytes
                             : usable - (memory.total_bytes - memory.free_bytes)));
  plan_.max_scored_tokens = MaxScoredTokens(plan_, most_kv_bytes / plan_.kv_bytes_per_token);
  if (!backend_->Reserve(MakeLimits(config_, plan_))) {
    return absl::ResourceExhaustedError(
        absl::StrCat("scratch memory for steps of max_num_batched_tokens ",
                     plan_.max_num_batched_tokens, " and max_num_seqs ", plan_.max_num_seqs,
                     " does not fit into the memory of ", backend_->info().name));
  }
  TIDAL_ASSIGN_OR_RETURN(slots_, SequenceSlots::Create(plan_, config_.vocab_size, backend_.get()));
  TIDAL_ASSIGN_OR_RETURN(batch_, InputBatch::Create(plan_, backend_.get()));
  TIDAL_ASSIGN_OR_RETURN(model_, DecoderModel::Create(config_, attention.config, plan_,
                                                      std::move(weights), slots_, backend_.get()));
  TIDAL_ASSIGN_OR_RETURN(sampler_, Sampler::Create(plan_, config_.vocab_size, backend_.get()));
  TIDAL_ASSIGN_OR_RETURN(scorer_, PromptScorer::Create(plan_, config_.vocab_size, backend_.get()));
  memory_use_.scratch = memory.free_bytes - backend_->memory().free_bytes;
  if (config.kv_cache_bytes == 0) {
    if (backend_->supports_graphs()) {
      const auto steps = 2 * static_cast<int64_t>(RowBuckets(plan_.max_decode_rows).size());
      memory_use_.graphs = steps * config_.num_layers * kGraphBytesPerLayer;
    }
    const int64_t used = memory.total_bytes - backend_->memory().free_bytes;
    TIDAL_ASSIGN_OR_RETURN(const int64_t left,
                           LeastOfRanks(link, usable - used - memory_use_.graphs));
    if (absl::Status status = PlanKvCache("KV cache", std::max<int64_t>(left, 0), &plan_);
        !status.ok()) {
      return absl::ResourceExhaustedError(
          absl::StrCat(status.message(), ". gpu_memory_utilization ", config.memory_utilization,
                       " leaves ", usable, " bytes of ", memory_use_.ToString()));
    }
  }
  TIDAL_ASSIGN_OR_RETURN(kv_cache_, KvCache::Create(config_, plan_, backend_.get()));
  memory_use_.kv_cache = kv_cache_.bytes();
  return absl::OkStatus();
}

absl::StatusOr<std::string> ModelRunner::RecordSteps() {
  if (!backend_->supports_graphs()) return std::string("none");
  const int64_t free = backend_->memory().free_bytes;
  const std::vector<int32_t> buckets = RowBuckets(plan_.max_decode_rows);
  int32_t steps = 0, recorded = 0;
  std::string failure;
  for (auto rows = buckets.rbegin(); rows != buckets.rend(); ++rows) {
    for (const bool sparse : {false, true}) {
      if (sparse && !model_->layer_plan().has_reuse()) continue;
      const std::string why_not = model_->Record(batch_.PackPadding(*rows, sparse), kv_cache_);
      ++steps;
      recorded += why_not.empty();
      if (!why_not.empty()) failure = why_not;
    }
  }
  if (std::string error = backend_->Synchronize(); !error.empty()) {
    return absl::UnavailableError(error);
  }
  memory_use_.graphs = free - backend_->memory().free_bytes;
  const std::string memory = absl::StrCat(" in ", memory_use_.graphs >> 20, " MiB");
  if (recorded == steps) return absl::StrCat(steps, memory);
  return absl::StrCat(recorded, " of ", steps, memory,
                      ", the others run operation by operation: ", failure);
}

void ModelRunner::FillKvCacheWithRandomNumbers() {
  const PagedKvCache first = kv_cache_.layer(0);
  backend_->FillRandom(first.k, kv_cache_.bytes() / static_cast<int64_t>(sizeof(bfloat16)),
                       /*seed=*/7, /*deviation=*/1);
}

void ModelRunner::Launch(const StepInput& input) {
  TIDAL_CHECK(launched_.size() < kMaxInFlight);
  TIDAL_CHECK(launched_.empty() || !launched_.back().awaits_masks || !status_.ok());
  LaunchedStep& step = launched_.emplace_back();
  step.start = std::chrono::steady_clock::now();
  step.output.sequences.resize(input.sequences.size());
  if (input.sequences.empty() || !status_.ok()) return;
  CheckInput(input);
  sampler_.CountRows(input);
  scorer_.CountRows(input);
  step.awaits_masks = input.masked();
  if (!step.awaits_masks) {
    EnqueueParts(input, 0);
    EndStep();
  } else if (RunsInParts(input)) {
    waiting_ = std::make_unique<OwnedStep>(input);
  } else {
    EnqueueForward(input, 0);
  }
}

void ModelRunner::Sample(const StepMasks& masks) {
  TIDAL_CHECK(!launched_.empty());
  if (!status_.ok()) return;
  LaunchedStep& step = launched_.back();
  TIDAL_CHECK(std::exchange(step.awaits_masks, false));
  TIDAL_CHECK(masks.of_sequences.size() == step.output.sequences.size());
  sampler_.TakeMasks(masks);
  if (waiting_ != nullptr) {
    EnqueueParts(waiting_->step(), 0);
    waiting_.reset();
  } else {
    EnqueueSampling(0);
  }
  EndStep();
}

// Rare: many sequences that share a long prefix, so that their contexts add up to more than the
// cache holds. Where a row runs does not change its result.
bool ModelRunner::RunsInParts(const StepInput& input) const {
  return input.sequences.size() > 1 && ScoredTokens(input) > plan_.max_scored_tokens;
}

void ModelRunner::EnqueueParts(const StepInput& input, int32_t first) {
  if (!RunsInParts(input)) {
    EnqueueForward(input, first);
    return EnqueueSampling(first);
  }
  const auto half = static_cast<int32_t>(input.sequences.size() / 2);
  const auto middle = input.sequences.begin() + half;
  EnqueueParts({{input.sequences.begin(), middle}}, first);
  EnqueueParts({{middle, input.sequences.end()}}, first + half);
}

void ModelRunner::EnqueueForward(const StepInput& input, int32_t first) {
  LaunchedStep& step = launched_.back();
  const Batch& batch = Pack(input);
  logits_ = model_->Forward(
      batch, kv_cache_, [&](float* prompt_logits, int32_t first_row, int32_t count) {
        scorer_.Score(input, batch_.prompt_order(), batch, prompt_logits, first_row, count);
      });
  for (int32_t index : batch_.prompt_order()) step.prompt_order.push_back(first + index);
  for (int32_t row = 0; row < batch.shape.sparse_rows; ++row) {
    step.output.sequences[first + batch_.order()[row]].ran_sparse = true;
  }
  step.output.stats += CountStep(input, batch.shape);
}

void ModelRunner::EnqueueSampling(int32_t first) {
  sampler_.Sample(batch_.logit_order(), batch_.batch(), slots_, logits_, first);
  for (int32_t index : batch_.logit_order()) launched_.back().row_order.push_back(first + index);
}

void ModelRunner::EndStep() {
  LaunchedStep& step = launched_.back();
  step.rows = sampler_.CopyOut();
  step.prompt_rows = scorer_.CopyOut();
  step.done = backend_->Submit();
}

absl::StatusOr<StepOutput> ModelRunner::Collect() {
  using Seconds = std::chrono::duration<double>;
  TIDAL_CHECK(!launched_.empty());
  const auto wait_start = std::chrono::steady_clock::now();
  if (status_.ok()) {
    TIDAL_CHECK(!launched_.front().awaits_masks);
    const std::string error = backend_->Wait(launched_.front().done);
    if (!error.empty()) status_ = absl::UnavailableError(error);
  }
  const auto now = std::chrono::steady_clock::now();
  LaunchedStep step = std::move(launched_.front());
  launched_.pop_front();
  if (!status_.ok()) return status_;
  TakeResults(&step);
  step.output.stats.wait_seconds = Seconds(now - wait_start).count();
  step.output.stats.execute_seconds = Seconds(now - std::max(step.start, last_collected_)).count();
  last_collected_ = now;
  return std::move(step.output);
}

void ModelRunner::TakeResults(LaunchedStep* step) const {
  std::vector<SequenceOutput>& outputs = step->output.sequences;
  std::vector<SampledToken> tokens = step->rows.Tokens();
  for (size_t row = 0; row < tokens.size(); ++row) {
    TIDAL_CHECK(tokens[row].id >= 0 && tokens[row].id < config_.vocab_size);
    outputs[step->row_order[row]].sampled.push_back(std::move(tokens[row]));
  }
  tokens = step->prompt_rows.Tokens();
  for (size_t row = 0; row < tokens.size(); ++row) {
    const int32_t rank = tokens[row].id;
    outputs[step->prompt_order[row]].prompt_logprobs.push_back(
        {tokens[row].logprob, rank, std::move(tokens[row].top)});
  }
}

bool ModelRunner::RunsSparse(const ScheduledSequence& sequence) const {
  return info_.tidal_available && sequence.wants_sparse();
}

int64_t ModelRunner::ScoredTokens(const StepInput& input) const {
  int64_t tokens = 0;
  for (const ScheduledSequence& sequence : input.sequences) {
    if (RunsSparse(sequence)) tokens += sequence.context_len();
  }
  return tokens;
}

const Batch& ModelRunner::Pack(const StepInput& input) {
  return batch_.Pack(input, {info_.tidal_available, info_.attention.recency_fraction}, &slots_);
}

StepStats ModelRunner::CountStep(const StepInput& input, const BatchShape& shape) const {
  StepStats stats;
  const int32_t decode_rows = shape.sparse_rows + shape.dense_rows;
  stats.verify_tokens = shape.verify_tokens;
  stats.prefill_tokens = shape.num_tokens - shape.decode_rows() - shape.verify_tokens;
  stats.decode_rows = decode_rows;
  stats.sparse_rows = shape.sparse_rows;
  // Tokens whose K and V a decode row reads, over all layers.
  int64_t rows_read = 0;
  for (int32_t row = 0; row < decode_rows; ++row) {
    const ScheduledSequence& sequence = input.sequences[batch_.order()[row]];
    const int64_t context = sequence.context_len();
    const int64_t windowed = window_ > 0 ? std::min<int64_t>(context, window_) : context;
    const LayerCounts& layers = layer_counts_;
    rows_read += layers.windowed * windowed + layers.whole * context;
    if (row < shape.sparse_rows) {
      stats.selected_tokens += sequence.attention.token_budget;
      rows_read += layers.selected * sequence.attention.token_budget;
    } else {
      rows_read += layers.reuse * context;
    }
  }
  stats.kv_bytes_read = rows_read * (plan_.kv_bytes_per_token / config_.num_layers);
  return stats;
}

}  // namespace tidal
