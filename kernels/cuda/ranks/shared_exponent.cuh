// How partial sums go from rank to rank: eight floats in 16 bytes, as integers of 15 bits with one
// exponent. An error is at most 2^-14 of the largest of the eight. That of bf16, which takes as
// many bytes, is 2^-9 of each, as much as the next product's own rounding of what it takes.
//
// A word is two integers, 16383 + m for m in [-16383, 16383], and two bits of the exponent above
// them. So none has all bits set, which is kAbsent.
#ifndef TIDAL_KERNELS_CUDA_RANKS_SHARED_EXPONENT_CUH_
#define TIDAL_KERNELS_CUDA_RANKS_SHARED_EXPONENT_CUH_

#include <cuda_runtime.h>

#include <cstdint>

namespace tidal::cuda {

struct Floats {
  float x[8];
};

// Of the largest, as floats have it; below the least there is nothing but 0, and a NaN or an
// infinity among the eight makes NaN of all.
inline constexpr uint32_t kLeastExponent = 14, kNoNumbers = 255;
inline constexpr int kLargestMantissa = 16383;

__device__ inline uint4 ShareExponent(const Floats& f) {
  uint32_t largest = 0;  // bits of floats of one sign are in their order, NaN's above all
#pragma unroll
  for (int i = 0; i < 8; ++i) largest = max(largest, __float_as_uint(f.x[i]) & 0x7fffffffu);
  const uint32_t exponent = max(largest >> 23, kLeastExponent);
  // 2^(140 - exponent): the largest becomes 2^13 .. 2^14.
  const float scale = __uint_as_float((267 - exponent) << 23);
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    uint32_t word = (exponent >> (2 * i) & 3u) << 30;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int m = __float2int_rn(f.x[2 * i + half] * scale);
      const int bounded = min(max(m, -kLargestMantissa), kLargestMantissa);
      word |= static_cast<uint32_t>(kLargestMantissa + bounded) << (15 * half);
    }
    words[i] = word;
  }
  return {words[0], words[1], words[2], words[3]};
}

__device__ inline Floats FromSharedExponent(const uint4& q) {
  const uint32_t words[4] = {q.x, q.y, q.z, q.w};
  uint32_t exponent = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) exponent |= words[i] >> 30 << (2 * i);
  const float scale = exponent == kNoNumbers ? __uint_as_float(0x7fffffffu)
                                             : __uint_as_float((exponent - 13) << 23);
  Floats f;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int m = static_cast<int>(words[i / 2] >> (15 * (i % 2)) & 0x7fffu) - kLargestMantissa;
    f.x[i] = static_cast<float>(m) * scale;
  }
  return f;
}

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_RANKS_SHARED_EXPONENT_CUH_
