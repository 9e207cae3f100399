// How large a model is: the numbers that every layer of the code passes on, under one name each.
#ifndef TIDAL_KERNELS_MODEL_SHAPE_H_
#define TIDAL_KERNELS_MODEL_SHAPE_H_

#include <cstdint>

namespace tidal {

struct ModelShape {
  int32_t vocab_size = 0;
  int32_t hidden_size = 0;
  int32_t intermediate_size = 0;  // of the MLP
  int32_t num_layers = 0;
  int32_t num_heads = 0;  // query heads; a multiple of num_kv_heads
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;  // a multiple of 16, at most 256

  // Rows of the fused projections.
  int32_t q_size() const { return num_heads * head_dim; }
  int32_t kv_size() const { return num_kv_heads * head_dim; }
  int32_t qkv_size() const { return q_size() + 2 * kv_size(); }
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_MODEL_SHAPE_H_
