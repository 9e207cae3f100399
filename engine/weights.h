// The weights of a model on a back end.
#ifndef TIDAL_ENGINE_WEIGHTS_H_
#define TIDAL_ENGINE_WEIGHTS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/device_buffer.h"
#include "engine/model_config.h"
#include "engine/safetensors.h"
#include "kernels/backend.h"

namespace tidal {

struct LayerWeights {
  DeviceBuffer input_norm;                // bf16 [hidden]
  DeviceBuffer post_attention_norm;       // bf16 [hidden]
  std::unique_ptr<PackedWeight> qkv;      // [(H + 2 KV) * D, hidden]: q, k, v
  std::unique_ptr<PackedWeight> o;        // [hidden, H * D]
  std::unique_ptr<PackedWeight> gate_up;  // [2 * intermediate, hidden]: gate, up
  std::unique_ptr<PackedWeight> down;     // [hidden, intermediate]
};

struct ModelWeights {
  DeviceBuffer embedding;  // bf16 [vocab, hidden]
  std::vector<LayerWeights> layers;
  DeviceBuffer final_norm;                // bf16 [hidden]
  std::unique_ptr<PackedWeight> lm_head;  // [vocab, hidden]; a copy of `embedding` when tied

  // What a decode step reads: everything but the embedding table.
  int64_t BytesPerStep() const;
};

// Copies and packs every tensor the model has. NOT_FOUND (a missing tensor), INVALID_ARGUMENT (a
// wrong shape), UNIMPLEMENTED (an element type), RESOURCE_EXHAUSTED.
absl::StatusOr<ModelWeights> LoadWeights(const ModelConfig& config, const ModelTensors& tensors,
                                         Backend* backend);

// Weights of the same shapes that keep activations of order one: normal numbers, and norms of 1.
// RESOURCE_EXHAUSTED.
absl::StatusOr<ModelWeights> MakeRandomWeights(const ModelConfig& config, Backend* backend);

}  // namespace tidal

#endif  // TIDAL_ENGINE_WEIGHTS_H_
