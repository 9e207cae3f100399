// From the logits of the heads that share a set to one sortable key a token.
//
// A key is an unsigned number that orders as the pooled scores do; 0 is below every score and marks
// a token that does not compete. Four neighbouring tokens (a "quad", aligned) are pooled at a time.
// Heads are added in ascending order, so a key depends on its token only.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_SCORE_POOLING_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_SCORE_POOLING_CUH_

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace tidal::cuda {

// The heads of one set of one row.
struct PooledHeads {
  __half* logits;            // of the first head and the row's token 0; 8-byte aligned
  int64_t head_stride;       // a multiple of 4
  const float* log_sum_exp;  // [heads]: log2 of the sum over the context of 2^logit
  int32_t heads;
};

// -infinity and NaN get the lowest key of a score, 0x007fffff; -0 that of +0.
__device__ inline uint32_t ScoreKey(float score) {
  if (isnan(score)) score = -INFINITY;
  const uint32_t bits = __float_as_uint(score + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
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
template <bool kSoftmaxSum, int kHeads>
__device__ inline void AddHeads(const PooledHeads& pool, int32_t first, int32_t token,
                                float4& pooled) {
  uint2 quads[kHeads];
  const __half* logits = pool.logits + first * pool.head_stride + token;
#pragma unroll
  for (int i = 0; i < kHeads; ++i) {
    quads[i] = __ldcg(reinterpret_cast<const uint2*>(logits + i * pool.head_stride));
  }
#pragma unroll
  for (int i = 0; i < kHeads; ++i) {
    const float log_sum_exp = kSoftmaxSum ? pool.log_sum_exp[first + i] : 0.0f;
    // A head with an infinite logit has no softmax: NaN, as in any arithmetic that divides.
    const float norm = log_sum_exp < INFINITY ? log_sum_exp : NAN;
    const float2 low = ToFloats(quads[i].x), high = ToFloats(quads[i].y);
    pooled.x = AddHead<kSoftmaxSum>(pooled.x, low.x, norm);
    pooled.y = AddHead<kSoftmaxSum>(pooled.y, low.y, norm);
    pooled.z = AddHead<kSoftmaxSum>(pooled.z, high.x, norm);
    pooled.w = AddHead<kSoftmaxSum>(pooled.w, high.y, norm);
  }
}

// Keys of tokens [4 quad, 4 quad + 4), of which those in [begin, end) compete.
template <bool kSoftmaxSum>
__device__ inline uint4 PoolQuad(const PooledHeads& pool, int32_t begin, int32_t end,
                                 int32_t quad) {
  constexpr float kEmpty = kSoftmaxSum ? 0.0f : -INFINITY;
  const int32_t token = quad * 4;
  float4 pooled = {kEmpty, kEmpty, kEmpty, kEmpty};
  int32_t head = 0;
#pragma unroll 1
  for (; head + 16 <= pool.heads; head += 16) {
    AddHeads<kSoftmaxSum, 16>(pool, head, token, pooled);
  }
#pragma unroll 1
  for (; head + 4 <= pool.heads; head += 4) {
    AddHeads<kSoftmaxSum, 4>(pool, head, token, pooled);
  }
#pragma unroll 1
  for (; head < pool.heads; ++head) AddHeads<kSoftmaxSum, 1>(pool, head, token, pooled);
  const auto key = [&](float score, int32_t t) {
    return t >= begin && t < end ? ScoreKey(score) : 0u;
  };
  return {key(pooled.x, token), key(pooled.y, token + 1), key(pooled.z, token + 2),
          key(pooled.w, token + 3)};
}

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_SCORE_POOLING_CUH_
