#include "engine/checkpoint/shard.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/check.h"

namespace tidal {
namespace {

// What matrix products want of their shapes: columns of a rank's part of the MLP, and rows of its
// part of the LM head.
constexpr int32_t kMlpAlignment = 4, kVocabularyAlignment = 16;

// Can each of `ranks` have an equal part?
bool CanShare(const ModelConfig& whole, int32_t ranks) {
  return whole.num_heads % ranks == 0 &&
         (whole.num_kv_heads % ranks == 0 || ranks % whole.num_kv_heads == 0) &&
         whole.intermediate_size % (ranks * kMlpAlignment) == 0;
}

}  // namespace

std::vector<int32_t> PossibleRanks(const ModelConfig& whole) {
  std::vector<int32_t> possible = {1};
  for (int32_t ranks = 2; ranks <= whole.num_heads; ++ranks) {
    if (CanShare(whole, ranks)) possible.push_back(ranks);
  }
  return possible;
}

absl::StatusOr<ModelConfig> ShardOf(const ModelConfig& whole, Shard shard) {
  if (shard.size == 1) return whole;
  TIDAL_CHECK(shard.size >= 1 && shard.rank >= 0 && shard.rank < shard.size);
  if (!CanShare(whole, shard.size)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor_parallel_size: must be one of ", absl::StrJoin(PossibleRanks(whole), ", "),
        " for a model of ", whole.num_heads, " attention heads, ", whole.num_kv_heads,
        " KV heads and an MLP of ", whole.intermediate_size, " (each part of it a multiple of ",
        kMlpAlignment, "), got ", shard.size));
  }
  ModelConfig config = whole;
  config.shard = shard;
  config.num_heads = whole.num_heads / shard.size;
  config.num_kv_heads = std::max(1, whole.num_kv_heads / shard.size);
  config.shard.kv_replicas = std::max(1, shard.size / whole.num_kv_heads);
  config.intermediate_size = whole.intermediate_size / shard.size;
  return config;
}

ModelShape WholeShape(const ModelConfig& config) {
  ModelShape whole = config;
  whole.num_heads *= config.shard.size;
  whole.num_kv_heads *= config.shard.size / config.shard.kv_replicas;
  whole.intermediate_size *= config.shard.size;
  return whole;
}

Slice QueryRows(const ModelConfig& config) {
  return {int64_t{config.shard.rank} * config.q_size(), config.q_size()};
}

Slice KeyValueRows(const ModelConfig& config) {
  return {int64_t{config.shard.rank / config.shard.kv_replicas} * config.kv_size(),
          config.kv_size()};
}

Slice MlpRows(const ModelConfig& config) {
  return {int64_t{config.shard.rank} * config.intermediate_size, config.intermediate_size};
}

Slice VocabularyRows(const ModelConfig& config) {
  const int64_t vocab = config.vocab_size, ranks = config.shard.size;
  if (ranks == 1) return {0, vocab};
  const int64_t multiple = ranks * kVocabularyAlignment;
  const int64_t count = (vocab + multiple - 1) / multiple * kVocabularyAlignment;
  return {config.shard.rank * count, count};
}

}  // namespace tidal
