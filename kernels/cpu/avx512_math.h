// Vector helpers of the AVX-512 sources. Include only from files compiled for AVX-512 BF16: all is
// in an unnamed namespace, so that no other file can end up with this file's instructions.
#ifndef TIDAL_KERNELS_CPU_AVX512_MATH_H_
#define TIDAL_KERNELS_CPU_AVX512_MATH_H_

#include <immintrin.h>

#include <cstdint>

#include "kernels/types.h"

namespace tidal::cpu {
namespace {

// 2^x to about 2e-7 relative for x <= 127; 0 where that is too small for a float, NaN for NaN.
inline __m512 Exp2(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-200.0f), x);  // in this order a NaN stays
  const __m512 floor = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, floor);  // [-0.5, 0.5]
  // Minimax fit of 2^f on [-1/2, 1/2], relative, with 2^0 exact.
  __m512 y = _mm512_set1_ps(1.32647268e-3f);
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(9.67151267e-3f));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(5.55073374e-2f));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(2.40222421e-1f));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(6.93146978e-1f));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(y, floor);
}

// The lanes [0, count) of a vector; count may be anything.
inline __mmask16 FirstLanes(int32_t count) {
  if (count >= 16) return 0xffff;
  return count <= 0 ? __mmask16{0} : static_cast<__mmask16>((1u << count) - 1);
}

inline __m512 LoadBFloat16(const bfloat16* x, __mmask16 lanes) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, x)), 16));
}

inline void StoreBFloat16(bfloat16* out, __mmask16 lanes, __m512 x) {
  _mm256_mask_storeu_epi16(out, lanes, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
}

// Stores lanes of x at element `i` of an array of `type`.
inline void StoreAs(DType type, void* out, int64_t i, __mmask16 lanes, __m512 x) {
  if (type == DType::kBF16) {
    StoreBFloat16(static_cast<bfloat16*>(out) + i, lanes, x);
  } else {
    _mm512_mask_storeu_ps(static_cast<float*>(out) + i, lanes, x);
  }
}

}  // namespace
}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_AVX512_MATH_H_
