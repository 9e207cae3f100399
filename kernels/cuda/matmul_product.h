// One matrix product on plain pointers: what the implementations of MatMulEngine take.
#ifndef TIDAL_KERNELS_CUDA_MATMUL_PRODUCT_H_
#define TIDAL_KERNELS_CUDA_MATMUL_PRODUCT_H_

#include <cstdint>

#include "kernels/types.h"

namespace tidal::cuda {

// y = x W^T + bias, or y += x W^T + bias: float sums of exact products.
struct MatMulProduct {
  const bfloat16* weight;  // [out_features, in_features]
  const bfloat16* x;       // [tokens, in_features]
  float* y;                // [tokens, out_features]
  int32_t out_features, in_features, tokens;
  bool accumulate;
  const float* bias = nullptr;  // [out_features], aligned to 16 bytes, or null
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_MATMUL_PRODUCT_H_
