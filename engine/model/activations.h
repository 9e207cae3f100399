// The intermediate results of a step, at their largest. Reused by every layer and every step.
#ifndef TIDAL_ENGINE_MODEL_ACTIVATIONS_H_
#define TIDAL_ENGINE_MODEL_ACTIVATIONS_H_

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "engine/memory/device_buffer.h"
#include "engine/memory/memory_plan.h"
#include "kernels/device.h"

namespace tidal {

// T = max_num_batched_tokens, L = max_sampled_tokens (rows of logits). "m" is the back end's
// matmul_type. Where logits of prompt rows are needed too, `last_residual` holds normed rows (m),
// those of a tile.
struct Activations {
  DeviceBuffer residual;        // float [T, hidden]
  DeviceBuffer normed;          // m [T, hidden]
  DeviceBuffer qkv;             // float [T, (H + 2 KV) * D]
  DeviceBuffer q;               // bf16 [T, H, D]
  DeviceBuffer attention;       // m [T, H, D]
  DeviceBuffer gate_up;         // float [T, 2 * intermediate]
  DeviceBuffer mlp;             // m [T, intermediate]
  DeviceBuffer last_residual;   // float [L, hidden]: the rows that need logits, in the last layer
  DeviceBuffer last_attention;  // m [L, H, D], likewise
  DeviceBuffer logits;          // float [L, vocab]
  // Among several ranks:
  DeviceBuffer partial;      // float [T, hidden]: what o and down give, to be added up
  DeviceBuffer part_logits;  // float [L, vocab / ranks]: this rank's columns of logits

  // RESOURCE_EXHAUSTED names the buffer and its bytes.
  static absl::StatusOr<Activations> Create(const ModelConfig& model, const MemoryPlan& plan,
                                            Device* device);
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_MODEL_ACTIVATIONS_H_
