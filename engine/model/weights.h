// The weights of a model on a back end: this rank's part of them (checkpoint_layout.h).
#ifndef TIDAL_ENGINE_MODEL_WEIGHTS_H_
#define TIDAL_ENGINE_MODEL_WEIGHTS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/memory/device_buffer.h"
#include "kernels/backend.h"

namespace tidal {

struct Projection {
  std::unique_ptr<PackedWeight> weight;  // [out, in]
  DeviceBuffer bias;                     // float [out]; empty without one

  int64_t bytes() const { return static_cast<int64_t>(weight->bytes()) + bias.bytes(); }
};

struct LayerWeights {
  DeviceBuffer input_norm;           // bf16 [hidden]
  DeviceBuffer post_attention_norm;  // bf16 [hidden]
  DeviceBuffer q_norm, k_norm;       // bf16 [D]; empty without QK norm
  Projection qkv;                    // [(H + 2 KV) * D, hidden]: q, k, v
  Projection o;                      // [hidden, H * D]
  Projection gate_up;                // [2 * intermediate, hidden]: gate, up
  Projection down;                   // [hidden, intermediate]
};

struct ModelWeights {
  DeviceBuffer embedding;  // bf16 [vocab, hidden]
  std::vector<LayerWeights> layers;
  DeviceBuffer final_norm;  // bf16 [hidden]
  Projection lm_head;       // [vocab, hidden]; a copy of `embedding` when tied

  // What a decode step reads: everything but the embedding table.
  int64_t BytesPerStep() const;
};

// What this rank's part of the weights takes on a device, about.
int64_t WeightBytes(const ModelConfig& config, DType matmul_type);

// Copies and packs this rank's part of every tensor the model has; all of them are checked before
// the first is copied. NOT_FOUND (a missing tensor), INVALID_ARGUMENT (a wrong shape),
// UNIMPLEMENTED (an element type), RESOURCE_EXHAUSTED.
absl::StatusOr<ModelWeights> LoadWeights(const ModelConfig& config, const ModelTensors& tensors,
                                         Backend* backend);

// Weights of the same shapes that keep activations of order one: normal numbers, norms of 1, biases
// of 0. RESOURCE_EXHAUSTED.
absl::StatusOr<ModelWeights> MakeRandomWeights(const ModelConfig& config, Backend* backend);

}  // namespace tidal

#endif  // TIDAL_ENGINE_MODEL_WEIGHTS_H_
