// RopeStoreKv: a thread takes four pairs (d, d + D/2) of one head of one token.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/bf16.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/row_ops.h"

namespace tidal::cuda {
namespace {

constexpr int kThreads = 256;

// Block (token, y): the y-th kThreads of the token's (H + 2 KV) * D / 8 items.
__global__ void __launch_bounds__(kThreads) RopeStoreKvKernel(const RopeStoreKvParams p) {
  WaitForPreviousKernel();
  const int32_t head_dim = p.kv.head_dim, half = head_dim / 2, kv_heads = p.kv.num_kv_heads;
  const int32_t heads = p.num_heads + 2 * kv_heads;
  const int32_t items_per_head = head_dim / 8;
  const int32_t item = blockIdx.y * kThreads + threadIdx.x;
  const int32_t head = item / items_per_head;
  if (head >= heads) return;
  const int32_t d = (item - head * items_per_head) * 4;
  const int64_t token = blockIdx.x;

  // The three reads depend on nothing but the token and overlap.
  const float* in = p.qkv + (token * heads + head) * head_dim + d;
  const float4 a = *reinterpret_cast<const float4*>(in);
  const float4 b = *reinterpret_cast<const float4*>(in + half);
  const int32_t slot = p.slot_mapping[token];

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
  if (p.kv.head_dim % 16 != 0 || !Aligned16(p.qkv, p.cos_sin, p.q, p.kv.k, p.kv.v)) {
    std::fprintf(stderr, "RopeStoreKv: head_dim %d is not a multiple of 16 or memory unaligned\n",
                 p.kv.head_dim);
    std::abort();
  }
  const int32_t items = (p.num_heads + 2 * p.kv.num_kv_heads) * (p.kv.head_dim / 8);
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(std::max(p.tokens, 0)),
                    static_cast<unsigned>((items + kThreads - 1) / kThreads));
  shape.block = dim3(kThreads);
  Launch(context, "RopeStoreKv", RopeStoreKvKernel, shape, p);
}

}  // namespace tidal::cuda
