// A model in equal parts, one for each of the ranks that compute it together (tensor parallelism).
#ifndef TIDAL_ENGINE_CHECKPOINT_SHARD_H_
#define TIDAL_ENGINE_CHECKPOINT_SHARD_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/safetensors.h"

namespace tidal {

// The part of `whole` that shard.rank of shard.size has: query heads, KV heads and the MLP's
// columns are shared out, the rest is everybody's. Fewer KV heads than ranks: each is computed and
// cached by several, which share its query heads out. INVALID_ARGUMENT names what cannot be shared
// out so, and by how many ranks it can.
absl::StatusOr<ModelConfig> ShardOf(const ModelConfig& whole, Shard shard);

// The numbers of ranks that a model can be shared out to, rising.
std::vector<int32_t> PossibleRanks(const ModelConfig& whole);

// The shape of the whole model that `config` is a part of.
ModelShape WholeShape(const ModelConfig& config);

// Rows of the fused projections, in the modules they are made of.
Slice QueryRows(const ModelConfig& config);
Slice KeyValueRows(const ModelConfig& config);
Slice MlpRows(const ModelConfig& config);
// Rows of the LM head: as many on each rank; those of the last ones may reach beyond the
// vocabulary.
Slice VocabularyRows(const ModelConfig& config);

}  // namespace tidal

#endif  // TIDAL_ENGINE_CHECKPOINT_SHARD_H_
