// How large everything is: the engine's limits made definite, and the KV blocks that fit.
#ifndef TIDAL_ENGINE_MEMORY_PLAN_H_
#define TIDAL_ENGINE_MEMORY_PLAN_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/model_config.h"

namespace tidal {

struct MemoryPlan {
  int32_t max_model_len;  // tokens
  int32_t block_size;     // tokens
  int32_t max_blocks_per_sequence;
  int32_t num_blocks;              // of the KV cache
  int64_t kv_bytes_per_token;      // K and V, all layers
  int32_t max_num_seqs;            // sequences of one step, and rows of logits
  int32_t max_num_batched_tokens;  // tokens of one step
  int32_t max_decode_rows;         // of one step
  int32_t max_token_budget;        // tokens a selection can hold
};

// INVALID_ARGUMENT names a field of `limits` out of its range; RESOURCE_EXHAUSTED says how many
// bytes of KV cache are missing for one sequence of max_model_len.
absl::StatusOr<MemoryPlan> PlanMemory(const ModelConfig& model, const EngineConfig& limits);

}  // namespace tidal

#endif  // TIDAL_ENGINE_MEMORY_PLAN_H_
