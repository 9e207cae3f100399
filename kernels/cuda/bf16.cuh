// Four neighbouring elements at a time, in both output types.
#ifndef TIDAL_KERNELS_CUDA_BF16_CUH_
#define TIDAL_KERNELS_CUDA_BF16_CUH_

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/types.h"

namespace tidal::cuda {

__device__ inline float BFloat16ToFloat(bfloat16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}

// Rounds to nearest, ties to even.
__device__ inline bfloat16 FloatToBFloat16(float x) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
}

// Two neighbours as they lie in memory: `low` first.
__device__ inline uint32_t PackBFloat16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return static_cast<uint32_t>(__bfloat16_as_ushort(pair.x)) |
         static_cast<uint32_t>(__bfloat16_as_ushort(pair.y)) << 16;
}

// The first and the second element of a pair.
__device__ inline float LowBFloat16(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float HighBFloat16(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

__device__ inline void Store(float* out, float x) { *out = x; }
__device__ inline void Store(bfloat16* out, float x) { *out = FloatToBFloat16(x); }

// `out` is aligned to four elements.
__device__ inline void Store4(float* out, float4 x) { *reinterpret_cast<float4*>(out) = x; }
__device__ inline void Store4(bfloat16* out, float4 x) {
  *reinterpret_cast<uint2*>(out) = make_uint2(PackBFloat16(x.x, x.y), PackBFloat16(x.z, x.w));
}

// Whether all pointers are aligned to 16 bytes.
template <typename... Pointers>
bool Aligned16(Pointers... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) | ... | 0) & 15u) == 0;
}

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_BF16_CUH_
