// A model's architecture: what its config.json says, checked.
#ifndef TIDAL_ENGINE_CHECKPOINT_MODEL_CONFIG_H_
#define TIDAL_ENGINE_CHECKPOINT_MODEL_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/ids.h"
#include "engine/checkpoint/rope_config.h"
#include "kernels/model_shape.h"

namespace tidal {

// One of the ranks that compute a model together (shard.h).
struct Shard {
  int32_t rank = 0, size = 1;
  int32_t kv_replicas = 1;  // consecutive ranks that have the same KV heads
};

// A stack of RMSNorm, grouped-query attention with rotary positions, and a SwiGLU MLP. What its
// architecture adds to that stands in fields of its own.
struct ModelConfig : ModelShape {
  Shard shard;                          // what is inherited is the shape of this part of the model
  std::string architecture;             // "LlamaForCausalLM"
  int32_t max_position_embeddings = 0;  // as in the file: see max_context_len()
  float rms_norm_eps = 0;
  RopeConfig rope;
  bool tie_word_embeddings = false;  // the LM head is the embedding table
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;  // each head of q and k is normalised before it is rotated
  // The last tokens that a query sees in each layer, its own included; 0 = all before it. Empty
  // where no layer has such a window.
  std::vector<int32_t> layer_windows;
  std::vector<TokenId> eos_token_ids;

  // Tokens of the longest context its positions are made for.
  int32_t max_context_len() const { return rope.MaxContextLen(max_position_embeddings); }
  int32_t window(int32_t layer) const { return layer_windows.empty() ? 0 : layer_windows[layer]; }
};

// Reads MODEL_PATH/config.json. NOT_FOUND, INVALID_ARGUMENT (a field), or UNIMPLEMENTED
// (an architecture or a feature of one that we do not run).
absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& model_path);

// The same from text; `file` is for messages.
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, const std::string& file);

}  // namespace tidal

#endif  // TIDAL_ENGINE_CHECKPOINT_MODEL_CONFIG_H_
