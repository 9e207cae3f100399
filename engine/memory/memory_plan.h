// How large everything is: the engine's limits made definite, and the KV blocks that fit.
#ifndef TIDAL_ENGINE_MEMORY_MEMORY_PLAN_H_
#define TIDAL_ENGINE_MEMORY_MEMORY_PLAN_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "engine/engine.h"

namespace tidal {

struct MemoryPlan {
  int32_t max_model_len;  // tokens
  int32_t block_size;     // tokens
  int32_t max_blocks_per_sequence;
  int32_t num_blocks;              // of the KV cache; 0 until PlanKvCache()
  int64_t kv_bytes_per_token;      // K and V, all layers
  int32_t max_num_seqs;            // sequences of one step
  int32_t max_num_batched_tokens;  // tokens of one step
  int32_t max_sampled_tokens;      // of one step, and rows of logits
  int32_t max_decode_rows;         // of one step
  int32_t max_token_budget;        // that a request may ask for
  int64_t max_scored_tokens;       // sum of the contexts of a step's sparse rows; 0 until known
};

// INVALID_ARGUMENT names a field of `limits` out of its range; RESOURCE_EXHAUSTED says how many
// bytes of KV cache are missing for one sequence of max_model_len. Where limits.kv_cache_bytes is
// 0, num_blocks stays 0.
absl::StatusOr<MemoryPlan> PlanMemory(const ModelConfig& model, const EngineConfig& limits);

// Sets num_blocks to what fits into `bytes`. RESOURCE_EXHAUSTED, naming `field`, as above.
absl::Status PlanKvCache(const char* field, int64_t bytes, MemoryPlan* plan);

// The max_scored_tokens of a cache of so many tokens: as many as it holds, and one sequence of
// max_model_len at least.
int64_t MaxScoredTokens(const MemoryPlan& plan, int64_t cached_tokens);

}  // namespace tidal

#endif  // TIDAL_ENGINE_MEMORY_MEMORY_PLAN_H_
