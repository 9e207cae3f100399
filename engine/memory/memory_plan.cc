#include "engine/memory/memory_plan.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/step.h"
#include "kernels/types.h"

namespace tidal {
namespace {

constexpr int64_t kMaxSeqs = 1 << 16;
constexpr int64_t kMaxBatchedTokens = 1 << 20;

absl::Status InRange(const char* field, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": must be in [", min, ", ", max, "], got ", value));
}

absl::Status CheckLimits(const ModelConfig& model, const EngineConfig& limits) {
  if (limits.block_size != 16 && limits.block_size != 32 && limits.block_size != 64) {
    return absl::InvalidArgumentError(
        absl::StrCat("block_size: must be 16, 32 or 64, got ", limits.block_size));
  }
  TIDAL_RETURN_IF_ERROR(InRange("max_model_len", limits.max_model_len, 0, model.max_context_len()));
  TIDAL_RETURN_IF_ERROR(InRange("max_num_seqs", limits.max_num_seqs, 1, kMaxSeqs));
  TIDAL_RETURN_IF_ERROR(
      InRange("max_num_batched_tokens", limits.max_num_batched_tokens, 1, kMaxBatchedTokens));
  TIDAL_RETURN_IF_ERROR(
      InRange("max_token_budget", limits.max_token_budget, 0, std::numeric_limits<int32_t>::max()));
  if (limits.kv_cache_bytes == 0 &&
      !(limits.memory_utilization > 0 && limits.memory_utilization <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu_memory_utilization: must be in (0, 1], got ", limits.memory_utilization));
  }
  return InRange("kv_cache_bytes", limits.kv_cache_bytes, 0, int64_t{1} << 50);
}

}  // namespace

absl::StatusOr<MemoryPlan> PlanMemory(const ModelConfig& model, const EngineConfig& limits) {
  TIDAL_RETURN_IF_ERROR(CheckLimits(model, limits));
  MemoryPlan plan = {};
  plan.max_model_len = limits.max_model_len ? limits.max_model_len : model.max_context_len();
  plan.block_size = limits.block_size;
  plan.max_blocks_per_sequence = (plan.max_model_len + plan.block_size - 1) / plan.block_size;
  plan.kv_bytes_per_token = int64_t{2} * model.num_layers * model.kv_size() * sizeof(bfloat16);
  plan.max_num_batched_tokens = limits.max_num_batched_tokens;
  plan.max_num_seqs = std::min(limits.max_num_seqs, limits.max_num_batched_tokens);
  plan.max_decode_rows = plan.max_num_seqs;
  // One for each sequence, or all of a few that verify.
  plan.max_sampled_tokens =
      std::min(plan.max_num_batched_tokens,
               std::max(plan.max_num_seqs, std::min(plan.max_num_seqs, 8) * kMaxVerifyTokens));
  plan.max_token_budget = limits.max_token_budget
                              ? std::min(limits.max_token_budget, plan.max_model_len)
                              : plan.max_model_len;
  if (limits.kv_cache_bytes > 0) {
    TIDAL_RETURN_IF_ERROR(PlanKvCache("kv_cache_bytes", limits.kv_cache_bytes, &plan));
  }
  return plan;
}

absl::Status PlanKvCache(const char* field, int64_t bytes, MemoryPlan* plan) {
  const int64_t block_bytes = plan->kv_bytes_per_token * plan->block_size;
  const int64_t blocks = bytes / block_bytes;
  if (blocks < plan->max_blocks_per_sequence) {
    const int64_t needed = block_bytes * plan->max_blocks_per_sequence;
    return absl::ResourceExhaustedError(absl::StrCat(
        field, ": must be at least ", needed, " for one sequence of max_model_len ",
        plan->max_model_len, " tokens, got ", bytes, ": ", needed - bytes, " bytes are missing"));
  }
  // Slots are int32.
  plan->num_blocks = static_cast<int32_t>(
      std::min<int64_t>(blocks, std::numeric_limits<int32_t>::max() / plan->block_size));
  return absl::OkStatus();
}

int64_t MaxScoredTokens(const MemoryPlan& plan, int64_t cached_tokens) {
  const int64_t most = int64_t{plan.max_decode_rows} * plan.max_model_len;
  return std::clamp<int64_t>(cached_tokens, plan.max_model_len, most);
}

std::string MemoryUse::ToString() const {
  const auto gib = [](int64_t bytes) {
    return absl::StrFormat("%.1f", static_cast<double>(bytes) / (int64_t{1} << 30));
  };
  return absl::StrCat(gib(total), " GiB: weights ", gib(weights), ", scratch ", gib(scratch),
                      ", graphs ", gib(graphs), ", KV cache ", gib(kv_cache), ", others ",
                      gib(others), ", free ", gib(free()));
}

}  // namespace tidal
