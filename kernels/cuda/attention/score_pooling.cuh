// From the logits of the heads that share a set to one sortable key a token.
//
// A key is an unsigned number that orders as the pooled scores do; 0 is below every score and marks
// a token that does not compete. Four neighbouring tokens (a "quad", aligned) are pooled at a time. Heads are added in ascending order, so a key depends on its token only.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_SCORE_POOLING_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_SCORE_POOLING_CUH_

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/attention/select_range.cuh"

namespace tidal::cuda {

// The heads of one set of one row.
struct PooledHeads {
  const __half* logits;      // of the first head and the row's token 0; 8-byte aligned
  int64_t head_stride;       // a multiple of 4
  const float* log_sum_exp;  // [heads]
  int32_t heads;
};

// -infinity and NaN get the lowest key of a score, 0x007fffff; -0 that of +0.
__device__ inline uint32_t ScoreKey(float score) {
  if (isnan(score)) score = -INFINITY;
  const uint32_t bits = __float_as_uint(score + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// kWhole: all four tokens are in the context. Else the first `valid` of them are, 1 .. 3; what is
// read for the others is the last of these.
template <bool kWhole>
__device__ inline uint2 LoadQuad(const __half* logits, int32_t valid) {
  if constexpr (kWhole) return __ldcs(reinterpret_cast<const uint2*>(logits));
  const auto bits = [&](int32_t i) -> uint32_t {
    return __half_as_ushort(logits[min(i, valid - 1)]);
  };
  return {bits(0) | bits(1) << 16, bits(2) | bits(3) << 16};
}

__device__ inline float2 ToFloats(uint32_t logits) {
  return __half22float2(*reinterpret_cast<const __half2*>(&logits));
}

template <bool kSoftmaxSum>
__device__ inline float AddHead(float pooled, float logit, float log_sum_exp) {
  // fmaxf skips a NaN; a sum keeps it.
  return kSoftmaxSum ? pooled + exp2f(logit - log_sum_exp) : fmaxf(pooled, logit);
}

// Adds heads [first, first + kHeads), whose loads are all in flight before the first is used.
template <bool kSoftmaxSum, bool kWhole, int kHeads>
__device__ inline void AddHeads(const PooledHeads& pool, int32_t first, int32_t token,
                                int32_t valid, float4& pooled) {
  uint2 quads[kHeads];
  float log_sum_exp[kHeads];
  const __half* logits = pool.logits + first * pool.head_stride + token;
#pragma unroll
  for (int i = 0; i < kHeads; ++i) {
    quads[i] = LoadQuad<kWhole>(logits + i * pool.head_stride, valid);
    log_sum_exp[i] = kSoftmaxSum ? pool.log_sum_exp[first + i] : 0.0f;
  }
#pragma unroll
  for (int i = 0; i < kHeads; ++i) {
    // A head with an infinite logit has no softmax: NaN, as in any arithmetic that divides.
    const float norm = log_sum_exp[i] < INFINITY ? log_sum_exp[i] : NAN;
    const float2 low = ToFloats(quads[i].x), high = ToFloats(quads[i].y);
    pooled.x = AddHead<kSoftmaxSum>(pooled.x, low.x, norm);
    pooled.y = AddHead<kSoftmaxSum>(pooled.y, low.y, norm);
    pooled.z = AddHead<kSoftmaxSum>(pooled.z, high.x, norm);
    pooled.w = AddHead<kSoftmaxSum>(pooled.w, high.y, norm);
  }
}

template <bool kSoftmaxSum, bool kWhole>
__device__ inline float4 PoolHeads(const PooledHeads& pool, int32_t token, int32_t valid) {
  constexpr float kEmpty = kSoftmaxSum ? 0.0f : -INFINITY;
  float4 pooled = {kEmpty, kEmpty, kEmpty, kEmpty};
  int32_t head = 0;
  if constexpr (kWhole) {
#pragma unroll 1
    for (; head + 16 <= pool.heads; head += 16) {
      AddHeads<kSoftmaxSum, kWhole, 16>(pool, head, token, valid, pooled);
    }
  }
#pragma unroll 1
  for (; head + 4 <= pool.heads; head += 4) {
    AddHeads<kSoftmaxSum, kWhole, 4>(pool, head, token, valid, pooled);
  }
#pragma unroll 1
  for (; head < pool.heads; ++head) {
    AddHeads<kSoftmaxSum, kWhole, 1>(pool, head, token, valid, pooled);
  }
  return pooled;
}

// Keys of tokens [4 quad, 4 quad + 4), of which at least one is in [range.head, range.end).
template <bool kSoftmaxSum>
__device__ inline uint4 PoolQuad(const PooledHeads& pool, const SelectRange& range,
                                 int32_t context_len, int32_t quad) {
  const int32_t token = quad * 4;
  const int32_t valid = context_len - token;
  const float4 pooled = valid >= 4 ? PoolHeads<kSoftmaxSum, true>(pool, token, valid)
                                   : PoolHeads<kSoftmaxSum, false>(pool, token, valid);
  const auto key = [&](float score, int32_t t) {
    return t >= range.head && t < range.end ? ScoreKey(score) : 0u;
  };
  return {key(pooled.x, token), key(pooled.y, token + 1), key(pooled.z, token + 2),
          key(pooled.w, token + 3)};
}

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_SCORE_POOLING_CUH_
