// The attention of one warp: up to 16 query heads of one KV head over chunks of 16 tokens.
//
// Both products run on the tensor cores as 16 x 8 x 16: rows are heads (those past the group are
// zero and never written), columns tokens (q k) or dims (p v). Logits are exact products of bf16
// summed in float. Weights are rounded to bf16 for the second product, to nearest and so without a
// bias; their sum, and so the log-sum-exp, is that of the unrounded ones.
//
// Everything that could be contracted into a multiply-add is written as one operation or the other,
// so that all kernels made from this give equal bits.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_WARP_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_WARP_CUH_

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/attention_mma.cuh"
#include "kernels/cuda/attention/decode_args.h"
#include "kernels/cuda/attention/decode_loader.cuh"

namespace tidal::cuda::decode {

// What logits are taken relative to: the maximum, but 0 where nothing but -infinity was seen, which
// then weighs 0 instead of NaN.
__device__ inline float Base(float max) { return max == -INFINITY ? 0.0f : max; }

// In what follows g = lane / 4 is the head (of registers 0 and 1; 2 and 3 belong to head g + 8) and
// c = 2 (lane % 4) the first of two columns.
template <int kDim>
class WarpAttention {
 public:
  // q: [group, row] in shared memory, the heads of one KV head.
  __device__ void Start(const bfloat16* q, int row, int group, int lane) {
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int head = lane / 4 + i % 2 * 8;
        const int dim = step * 16 + i / 2 * 8 + lane % 4 * 2;
        q_[step][i] = head < group ? *reinterpret_cast<const uint32_t*>(q + head * row + dim) : 0u;
      }
    }
#pragma unroll
    for (int tile = 0; tile < kDim / 8; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out_[tile][i] = 0.0f;
    }
    max_[0] = max_[1] = -INFINITY;
    sum_[0] = sum_[1] = 0.0f;
  }

  // Logits in base 2 of the chunk at `stage`: [n][i] is head g (i < 2) or g + 8 and token
  // 8 n + c + i % 2. Tokens from `valid` on get -infinity.
  __device__ void Logits(uint32_t stage, int valid, float scale, int lane,
                         float (&logits)[2][4]) const {
    const int token = lane / 16 * 8 + lane % 8;
    const uint32_t row = stage + token * kDim * 2;
    const int swizzle = Swizzle<kDim>(token);
    // Even and odd steps apart: half as long a chain of products. Not where registers are short.
    constexpr int kChains = kDim <= 192 ? 2 : 1;
    float sums[kChains][2][4] = {};
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      uint32_t k[4];
      const int piece = 2 * step + lane / 8 % 2;
      mma::LoadMatrices(k, row + (piece ^ swizzle) * 16);
      mma::MultiplyAdd(sums[step % kChains][0], q_[step], k[0], k[1]);
      mma::MultiplyAdd(sums[step % kChains][1], q_[step], k[2], k[3]);
    }
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float sum = sums[0][n][i];
        if constexpr (kChains == 2) sum = __fadd_rn(sum, sums[1][n][i]);
        logits[n][i] = __fmul_rn(sum, scale);
        if (n * 8 + lane % 4 * 2 + i % 2 >= valid) logits[n][i] = -INFINITY;
      }
    }
  }

  // The chunk's first `tokens` tokens count for nothing.
  __device__ static void Hide(int tokens, int lane, float (&logits)[2][4]) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (n * 8 + lane % 4 * 2 + i % 2 < tokens) logits[n][i] = -INFINITY;
      }
    }
  }

  // Adds the chunk at `stage`, whose logits these are. A NaN among them makes the head's result
  // NaN.
  __device__ void Add(uint32_t stage, const float (&logits)[2][4], int lane) {
    float base[2];
    float rescale[2];
    bool grows = false;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = 2 * half;
      // fmaxf passes over NaN.
      float max =
          fmaxf(fmaxf(logits[0][i], logits[0][i + 1]), fmaxf(logits[1][i], logits[1][i + 1]));
      max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 1));
      max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, 2));
      max = fmaxf(max, max_[half]);
      base[half] = Base(max);
      rescale[half] = mma::Exp2(max_[half] - base[half]);
      grows = grows || max != max_[half];
      max_[half] = max;
    }
    // Where no maximum grows, all factors are 1 (or meet zeros and NaN only).
    if (__any_sync(kAllLanes, grows)) {
      sum_[0] = __fmul_rn(sum_[0], rescale[0]);
      sum_[1] = __fmul_rn(sum_[1], rescale[1]);
#pragma unroll
      for (int tile = 0; tile < kDim / 8; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) out_[tile][i] = __fmul_rn(out_[tile][i], rescale[i / 2]);
      }
    }
    float weights[2][4];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        weights[n][i] = mma::Exp2(__fadd_rn(logits[n][i], -base[i / 2]));
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = 2 * half;
      sum_[half] = __fadd_rn(sum_[half], __fadd_rn(__fadd_rn(weights[0][i], weights[0][i + 1]),
                                                   __fadd_rn(weights[1][i], weights[1][i + 1])));
    }
    // The sums of one product have the layout of the factor of the next.
    const uint32_t p[4] = {
        mma::PackBf16(weights[0][0], weights[0][1]), mma::PackBf16(weights[0][2], weights[0][3]),
        mma::PackBf16(weights[1][0], weights[1][1]), mma::PackBf16(weights[1][2], weights[1][3])};
    const int token = lane % 16;
    const uint32_t row = stage + kChunkTokens * kDim * 2 + token * kDim * 2;
    const int swizzle = Swizzle<kDim>(token);
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      uint32_t v[4];
      mma::LoadMatricesTransposed(v, row + ((2 * step + lane / 16) ^ swizzle) * 16);
      mma::MultiplyAdd(out_[2 * step], p, v[0], v[1]);
      mma::MultiplyAdd(out_[2 * step + 1], p, v[2], v[3]);
    }
  }

  // Each lane has summed its own columns.
  __device__ void SumLanes() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      sum_[half] = __fadd_rn(sum_[half], __shfl_xor_sync(kAllLanes, sum_[half], 1));
      sum_[half] = __fadd_rn(sum_[half], __shfl_xor_sync(kAllLanes, sum_[half], 2));
    }
  }

  // Head g + 8 kHalf: writes its sums to out[0, kDim) and its maximum and sum to *sums.
  template <int kHalf>
  __device__ void Write(float* out, float2* sums, int lane) const {
    const int column = lane % 4 * 2;
#pragma unroll
    for (int tile = 0; tile < kDim / 8; ++tile) {
      *reinterpret_cast<float2*>(out + tile * 8 + column) =
          make_float2(out_[tile][2 * kHalf], out_[tile][2 * kHalf + 1]);
    }
    if (column == 0) *sums = make_float2(max_[kHalf], sum_[kHalf]);
  }

 private:
  uint32_t q_[kDim / 16][4];
  float out_[kDim / 8][4];
  float max_[2], sum_[2];
};

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_WARP_CUH_
