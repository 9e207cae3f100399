#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/plain_matmul.h"

namespace tidal::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kMaxGridY = 65535;

// A warp computes one output; the blocks along y take tokens in turn.
__global__ void __launch_bounds__(32 * kWarps)
    PlainMatMulKernel(LaunchMark mark, const __nv_bfloat16* weight, const __nv_bfloat16* x,
                      float* y, int32_t out_features, int32_t in_features, int32_t tokens,
                      bool accumulate, const float* bias) {
  LetNextKernelStart();
  WaitForPreviousKernel(mark);
  const int lane = threadIdx.x % 32;
  const int row = blockIdx.x * kWarps + threadIdx.x / 32;
  if (row >= out_features) return;
  const __nv_bfloat16* const w = weight + static_cast<int64_t>(row) * in_features;
  for (int token = blockIdx.y; token < tokens; token += gridDim.y) {
    const __nv_bfloat16* const x_row = x + static_cast<int64_t>(token) * in_features;
    float sum = 0.0f;
    for (int k = lane; k < in_features; k += 32) {
      sum += __bfloat162float(w[k]) * __bfloat162float(x_row[k]);
    }
    for (int offset = 16; offset > 0; offset /= 2) {
      sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    }
    if (lane == 0) {
      if (bias != nullptr) sum += bias[row];
      float* const out = y + static_cast<int64_t>(token) * out_features + row;
      *out = accumulate ? *out + sum : sum;
    }
  }
}

}  // namespace

void PlainMatMul(const MatMulProduct& product, DeviceContext& context) {
  if (product.tokens <= 0) return;
  Launch(context, "MatMul", PlainMatMulKernel,
         {.grid = dim3((product.out_features + kWarps - 1) / kWarps,
                       std::min(product.tokens, kMaxGridY)),
          .block = dim3(32 * kWarps)},
         reinterpret_cast<const __nv_bfloat16*>(product.weight),
         reinterpret_cast<const __nv_bfloat16*>(product.x), product.y, product.out_features,
         product.in_features, product.tokens, product.accumulate, product.bias);
}

}  // namespace tidal::cuda
