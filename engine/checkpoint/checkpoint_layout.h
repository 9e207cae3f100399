// Which tensors a checkpoint must have, by Hugging Face's names. The same names for all
// architectures.
#ifndef TIDAL_ENGINE_CHECKPOINT_CHECKPOINT_LAYOUT_H_
#define TIDAL_ENGINE_CHECKPOINT_CHECKPOINT_LAYOUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/checkpoint/shard.h"

namespace tidal {

inline constexpr char kEmbeddingTensor[] = "model.embed_tokens.weight";  // [vocab, hidden]
inline constexpr char kFinalNormTensor[] = "model.norm.weight";          // [hidden]

// What is taken of the rows or columns of a tensor.
struct Extent {
  int64_t whole;  // in the checkpoint
  Slice mine;     // of this rank; zeros where it reaches beyond
};

// A fused projection: modules MODULE.weight [rows, columns], and MODULE.bias [rows] where there is
// one, stacked by rows. Ranks share out its rows, and each computes some of what it gives (q, k, v,
// gate, up, the LM head); or its columns, and what each computes is to be added up (o, down).
struct ProjectionLayout {
  struct Part {
    std::string module;
    Extent rows;
  };
  std::vector<Part> parts;
  Extent columns;
  bool bias = false;

  int64_t rows() const;  // this rank's, of all parts
  bool splits_columns() const { return columns.mine.count < columns.whole; }
};

struct LayerLayout {
  std::string input_norm, post_attention_norm;  // tensors [hidden]
  std::string q_norm, k_norm;                   // tensors [head_dim]; empty without QK norm
  ProjectionLayout qkv, o, gate_up, down;
};

LayerLayout LayoutOfLayer(const ModelConfig& config, int32_t layer);

// The embedding table again where they are tied.
ProjectionLayout LayoutOfLmHead(const ModelConfig& config);

// Whether all tensors are there, before any of them is copied. NOT_FOUND, INVALID_ARGUMENT (a
// shape) or UNIMPLEMENTED (an element type), each naming the tensor.
absl::Status CheckTensors(const ModelConfig& config, const ModelTensors& tensors);

}  // namespace tidal

#endif  // TIDAL_ENGINE_CHECKPOINT_CHECKPOINT_LAYOUT_H_
