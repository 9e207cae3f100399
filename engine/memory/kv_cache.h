// The paged KV cache of all layers. Which sequence owns which block is the scheduler's business.
#ifndef TIDAL_ENGINE_MEMORY_KV_CACHE_H_
#define TIDAL_ENGINE_MEMORY_KV_CACHE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "engine/memory/device_buffer.h"
#include "engine/memory/memory_plan.h"
#include "kernels/attention/params.h"
#include "kernels/device.h"

namespace tidal {

class KvCache {
 public:
  // Takes all memory at once, zeroed. RESOURCE_EXHAUSTED when it does not fit.
  static absl::StatusOr<KvCache> Create(const ModelConfig& model, const MemoryPlan& plan,
                                        Device* device);

  PagedKvCache layer(int32_t index) const;
  int32_t num_blocks() const { return num_blocks_; }
  int64_t bytes() const { return buffer_.bytes(); }

 private:
  DeviceBuffer buffer_;  // per layer: K [blocks, KV, B, D], then V
  int32_t num_blocks_ = 0, num_kv_heads_ = 0, block_size_ = 0, head_dim_ = 0;
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_MEMORY_KV_CACHE_H_
