// RmsNorm: one block a row, which stays in registers between the sum of squares and the scaling.
#include <algorithm>

#include "kernels/cuda/bf16.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/row_ops.h"

namespace tidal::cuda {
namespace {

constexpr int kMaxThreads = 512;
constexpr int kMaxWarps = kMaxThreads / 32;

// The sum over the block, in every thread. Called once a kernel: `sums` is written once.
__device__ inline float BlockSum(float x) {
  __shared__ float sums[kMaxWarps];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warps = (blockDim.x + 31) / 32;
  for (int distance = 16; distance > 0; distance /= 2) {
    x += __shfl_xor_sync(0xffffffffu, x, distance);
  }
  if (lane == 0) sums[warp] = x;
  __syncthreads();
  x = lane < warps ? sums[lane] : 0.0f;
  for (int distance = kMaxWarps / 2; distance > 0; distance /= 2) {
    x += __shfl_xor_sync(0xffffffffu, x, distance);
  }
  // Lanes 16 to 31 hold the sum of zeros.
  return __shfl_sync(0xffffffffu, x, 0);
}

__device__ inline float Scale(float sum, int32_t hidden, float epsilon) {
  return 1.0f / sqrtf(sum / static_cast<float>(hidden) + epsilon);
}

// hidden = 4 * quads, at most 4 * kQuads * blockDim.x. Everything is aligned to 16 bytes.
template <int kQuads, typename Out>
__global__ void __launch_bounds__(kMaxThreads)
    RmsNormKernel(LaunchMark mark, const float* x, const bfloat16* weight, Out* out, int32_t quads,
                  float epsilon) {
  // Weights do not change: they may be read while the kernel before this one still runs.
  uint2 weights[kQuads];
#pragma unroll
  for (int j = 0; j < kQuads; ++j) {
    const int32_t i = threadIdx.x + j * blockDim.x;
    weights[j] = i < quads ? __ldg(reinterpret_cast<const uint2*>(weight) + i) : uint2{};
  }
  LetNextKernelStart();
  WaitForPreviousKernel(mark);
  const float4* in = reinterpret_cast<const float4*>(x) + int64_t{blockIdx.x} * quads;
  float4 values[kQuads];
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kQuads; ++j) {
    const int32_t i = threadIdx.x + j * blockDim.x;
    values[j] = i < quads ? in[i] : float4{};
  }
#pragma unroll
  for (int j = 0; j < kQuads; ++j) {
    const float4 v = values[j];
    sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  const float scale = Scale(BlockSum(sum), 4 * quads, epsilon);
  Out* to = out + int64_t{blockIdx.x} * 4 * quads;
#pragma unroll
  for (int j = 0; j < kQuads; ++j) {
    const int32_t i = threadIdx.x + j * blockDim.x;
    if (i >= quads) continue;
    const float4 v = values[j];
    const uint2 w = weights[j];
    Store4(to + 4 * i,
           make_float4(v.x * scale * LowBFloat16(w.x), v.y * scale * HighBFloat16(w.x),
                       v.z * scale * LowBFloat16(w.y), v.w * scale * HighBFloat16(w.y)));
  }
}

// Any size and alignment; reads the row twice.
template <typename Out>
__global__ void __launch_bounds__(kMaxThreads)
    AnyRmsNormKernel(LaunchMark mark, const float* x, const bfloat16* weight, Out* out,
                     int32_t hidden, float epsilon) {
  LetNextKernelStart();
  WaitForPreviousKernel(mark);
  const float* in = x + int64_t{blockIdx.x} * hidden;
  float sum = 0;
  for (int32_t i = threadIdx.x; i < hidden; i += kMaxThreads) sum += in[i] * in[i];
  const float scale = Scale(BlockSum(sum), hidden, epsilon);
  Out* to = out + int64_t{blockIdx.x} * hidden;
  for (int32_t i = threadIdx.x; i < hidden; i += kMaxThreads) {
    Store(to + i, in[i] * scale * BFloat16ToFloat(weight[i]));
  }
}

template <typename Out>
void LaunchRmsNorm(const RmsNormParams& p, DeviceContext& context) {
  Out* out = static_cast<Out*>(p.out);
  const int32_t quads = p.hidden / 4;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(std::max(p.tokens, 0)));
  const bool vectors = p.hidden % 4 == 0 && Aligned16(p.x, p.weight, p.out);
  if (!vectors || quads > 8 * kMaxThreads) {
    shape.block = dim3(kMaxThreads);
    Launch(context, "RmsNorm", AnyRmsNormKernel<Out>, shape, p.x, p.weight, out, p.hidden,
           p.epsilon);
    return;
  }
  shape.block = dim3(static_cast<unsigned>(std::min((quads + 31) / 32 * 32, kMaxThreads)));
  const auto launch = [&](auto* kernel) {
    Launch(context, "RmsNorm", kernel, shape, p.x, p.weight, out, quads, p.epsilon);
  };
  if (quads <= kMaxThreads) {
    launch(RmsNormKernel<1, Out>);
  } else if (quads <= 2 * kMaxThreads) {
    launch(RmsNormKernel<2, Out>);
  } else if (quads <= 4 * kMaxThreads) {
    launch(RmsNormKernel<4, Out>);
  } else {
    launch(RmsNormKernel<8, Out>);
  }
}

}  // namespace

void RmsNorm(const RmsNormParams& p, DeviceContext& context) {
  if (p.out_type == DType::kBF16) {
    LaunchRmsNorm<bfloat16>(p, context);
  } else {
    LaunchRmsNorm<float>(p, context);
  }
}

}  // namespace tidal::cuda
