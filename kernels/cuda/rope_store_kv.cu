// RopeStoreKv: a thread takes four pairs (d, d + D/2) of one head of one token. The D / 8 threads
// of a head are neighbours in one warp, so a head's norm is a few shuffles.
#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/bf16.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/row_ops.h"

namespace tidal::cuda {
namespace {

constexpr int kThreads = 256;

__device__ inline float SumOfSquares(float4 x) {
  return x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
}

// x * scale * weight[0 .. 4)
__device__ inline float4 Scaled(float4 x, float scale, const bfloat16* weight) {
  const uint2 w = __ldg(reinterpret_cast<const uint2*>(weight));
  return make_float4(x.x * scale * LowBFloat16(w.x), x.y * scale * HighBFloat16(w.x),
                     x.z * scale * LowBFloat16(w.y), x.w * scale * HighBFloat16(w.y));
}

// Block (token, y): the y-th kThreads of the threads of the token's H + 2 KV heads. head_threads:
// D / 8 rounded up to a power of two, so that a head lies in one warp; those past D / 8 idle.
__global__ void __launch_bounds__(kThreads)
    RopeStoreKvKernel(LaunchMark mark, const RopeStoreKvParams p, int32_t head_threads) {
  LetNextKernelStart();
  WaitForPreviousKernel(mark);
  const int32_t head_dim = p.kv.head_dim, half = head_dim / 2, kv_heads = p.kv.num_kv_heads;
  const int32_t heads = p.num_heads + 2 * kv_heads;
  const int32_t item = blockIdx.y * kThreads + threadIdx.x;
  const int32_t head = item / head_threads;
  const int32_t d = (item - head * head_threads) * 4;
  const bool valid = head < heads && d < half;
  const int64_t token = blockIdx.x;

  // The three reads depend on nothing but the token and overlap.
  const float* in = p.qkv + (token * heads + head) * head_dim + d;
  float4 a = valid ? *reinterpret_cast<const float4*>(in) : float4{};
  float4 b = valid ? *reinterpret_cast<const float4*>(in + half) : float4{};
  const int32_t slot = p.slot_mapping[token];

  float scale = 1.0f;
  if (p.q_norm != nullptr) {
    // All threads of the warp take part.
    float sum = SumOfSquares(a) + SumOfSquares(b);
    for (int32_t distance = head_threads / 2; distance > 0; distance /= 2) {
      sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    }
    scale = 1.0f / sqrtf(sum / static_cast<float>(head_dim) + p.norm_epsilon);
  }
  if (!valid) return;

  bfloat16* out;
  if (head < p.num_heads) {
    out = p.q + (token * p.num_heads + head) * head_dim;
  } else {
    if (slot < 0) return;
    const int32_t block = slot / p.kv.block_size, offset = slot % p.kv.block_size;
    const bool is_v = head >= p.num_heads + kv_heads;
    const int32_t kv_head = head - p.num_heads - (is_v ? kv_heads : 0);
    const int64_t row = (int64_t{block} * kv_heads + kv_head) * p.kv.block_size + offset;
    out = (is_v ? p.kv.v : p.kv.k) + row * head_dim;
    if (is_v) {
      Store4(out + d, a);
      Store4(out + half + d, b);
      return;
    }
  }
  if (p.q_norm != nullptr) {
    const bfloat16* weight = (head < p.num_heads ? p.q_norm : p.k_norm) + d;
    a = Scaled(a, scale, weight);
    b = Scaled(b, scale, weight + half);
  }
  const float* angles = p.cos_sin + int64_t{p.positions[token]} * head_dim + d;
  const float4 c = *reinterpret_cast<const float4*>(angles);
  const float4 s = *reinterpret_cast<const float4*>(angles + half);
  // As on the CPU: one product rounded, the other fused into the sum.
  Store4(out + d, make_float4(fmaf(a.x, c.x, -(b.x * s.x)), fmaf(a.y, c.y, -(b.y * s.y)),
                              fmaf(a.z, c.z, -(b.z * s.z)), fmaf(a.w, c.w, -(b.w * s.w))));
  Store4(out + half + d, make_float4(fmaf(b.x, c.x, a.x * s.x), fmaf(b.y, c.y, a.y * s.y),
                                     fmaf(b.z, c.z, a.z * s.z), fmaf(b.w, c.w, a.w * s.w)));
}

}  // namespace

void RopeStoreKv(const RopeStoreKvParams& p, DeviceContext& context) {
  if (p.kv.head_dim % 16 != 0 || p.kv.head_dim > 256 ||
      !Aligned16(p.qkv, p.cos_sin, p.q, p.kv.k, p.kv.v, p.q_norm, p.k_norm)) {
    std::fprintf(
        stderr, "RopeStoreKv: head_dim %d is not a multiple of 16 up to 256, or memory unaligned\n",
        p.kv.head_dim);
    std::abort();
  }
  const auto head_threads = static_cast<int32_t>(std::bit_ceil(uint32_t(p.kv.head_dim) / 8));
  const int32_t items = (p.num_heads + 2 * p.kv.num_kv_heads) * head_threads;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(std::max(p.tokens, 0)),
                    static_cast<unsigned>((items + kThreads - 1) / kThreads));
  shape.block = dim3(kThreads);
  Launch(context, "RopeStoreKv", RopeStoreKvKernel, shape, p, head_threads);
}

}  // namespace tidal::cuda
