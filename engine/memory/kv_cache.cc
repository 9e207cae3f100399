#include "engine/memory/kv_cache.h"

#include <utility>

#include "engine/base/status_macros.h"

namespace tidal {

absl::StatusOr<KvCache> KvCache::Create(const ModelConfig& model, const MemoryPlan& plan,
                                        Device* device) {
  KvCache cache;
  TIDAL_ASSIGN_OR_RETURN(
      cache.buffer_,
      DeviceBuffer::Allocate(device, plan.kv_bytes_per_token * plan.block_size * plan.num_blocks,
                             "kv_cache_bytes"));
  cache.num_blocks_ = plan.num_blocks;
  cache.num_kv_heads_ = model.num_kv_heads;
  cache.block_size_ = plan.block_size;
  cache.head_dim_ = model.head_dim;
  return cache;
}

PagedKvCache KvCache::layer(int32_t index) const {
  const int64_t elements = int64_t{num_blocks_} * num_kv_heads_ * block_size_ * head_dim_;
  bfloat16* k = buffer_.As<bfloat16>() + 2 * elements * index;
  return {k, k + elements, num_kv_heads_, block_size_, head_dim_};
}

}  // namespace tidal
