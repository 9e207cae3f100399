// The row kernels for AVX-512 BF16.
#include <limits>

#include "kernels/cpu/avx512_math.h"
#include "kernels/cpu/row_ops.h"

namespace tidal::cpu {
namespace {

void RmsNormRow(const float* x, const bfloat16* weight, float epsilon, int32_t hidden,
                DType out_type, void* out) {
  __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  for (int32_t i = 0; i < hidden; i += 32) {
    const __m512 a = _mm512_maskz_loadu_ps(FirstLanes(hidden - i), x + i);
    const __m512 b = _mm512_maskz_loadu_ps(FirstLanes(hidden - i - 16), x + i + 16);
    sums[0] = _mm512_fmadd_ps(a, a, sums[0]);
    sums[1] = _mm512_fmadd_ps(b, b, sums[1]);
  }
  const float mean =
      _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1])) / static_cast<float>(hidden);
  const __m512 scale =
      _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_sqrt_ps(_mm512_set1_ps(mean + epsilon)));
  for (int32_t i = 0; i < hidden; i += 16) {
    const __mmask16 lanes = FirstLanes(hidden - i);
    const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), scale);
    StoreAs(out_type, out, i, lanes, _mm512_mul_ps(scaled, LoadBFloat16(weight + i, lanes)));
  }
}

void SwiGluRow(const float* gate, const float* up, int32_t count, DType out_type, void* out) {
  const __m512 minus_log2e = _mm512_set1_ps(-1.44269504f);
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 largest = _mm512_set1_ps(126.0f);  // where silu is zero in float
  for (int32_t i = 0; i < count; i += 16) {
    const __mmask16 lanes = FirstLanes(count - i);
    const __m512 g = _mm512_maskz_loadu_ps(lanes, gate + i);
    const __m512 u = _mm512_maskz_loadu_ps(lanes, up + i);
    // min(largest, NaN) is NaN: the second operand.
    const __m512 e = Exp2(_mm512_min_ps(largest, _mm512_mul_ps(g, minus_log2e)));
    const __m512 silu = _mm512_div_ps(g, _mm512_add_ps(one, e));
    StoreAs(out_type, out, i, lanes, _mm512_mul_ps(silu, u));
  }
}

void RotateRow(const float* x, const float* cos_sin, int32_t head_dim, bfloat16* out) {
  const int32_t half = head_dim / 2;
  for (int32_t i = 0; i < half; i += 16) {
    const __mmask16 lanes = FirstLanes(half - i);
    const __m512 c = _mm512_maskz_loadu_ps(lanes, cos_sin + i);
    const __m512 s = _mm512_maskz_loadu_ps(lanes, cos_sin + half + i);
    const __m512 a = _mm512_maskz_loadu_ps(lanes, x + i);
    const __m512 b = _mm512_maskz_loadu_ps(lanes, x + half + i);
    StoreBFloat16(out + i, lanes, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
    StoreBFloat16(out + half + i, lanes, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)));
  }
}

void ToBFloat16Row(const float* x, int32_t count, bfloat16* out) {
  for (int32_t i = 0; i < count; i += 16) {
    const __mmask16 lanes = FirstLanes(count - i);
    StoreBFloat16(out + i, lanes, _mm512_maskz_loadu_ps(lanes, x + i));
  }
}

float CleanMax(float* x, int32_t count, bool* had_nan) {
  const __m512 lowest = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  __m512 max = lowest;
  __mmask16 nans = 0;
  for (int32_t i = 0; i < count; i += 16) {
    const __mmask16 lanes = FirstLanes(count - i);
    const __m512 raw = _mm512_mask_loadu_ps(lowest, lanes, x + i);
    nans |= _mm512_cmp_ps_mask(raw, raw, _CMP_UNORD_Q);
    // max(NaN, lowest) is lowest: the second operand.
    const __m512 clean = _mm512_max_ps(raw, lowest);
    _mm512_mask_storeu_ps(x + i, lanes, clean);
    max = _mm512_max_ps(max, clean);
  }
  *had_nan = nans != 0;
  return _mm512_reduce_max_ps(max);
}

double SumExp(const float* x, int32_t count, float offset, float scale, float* out) {
  const __m512 offsets = _mm512_set1_ps(offset);
  const __m512 scales = _mm512_set1_ps(scale * 1.44269504f);
  __m512d sums[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()};
  for (int32_t i = 0; i < count; i += 16) {
    const __mmask16 lanes = FirstLanes(count - i);
    const __m512 terms = _mm512_maskz_mov_ps(
        lanes,
        Exp2(_mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, x + i), offsets), scales)));
    if (out != nullptr) _mm512_mask_storeu_ps(out + i, lanes, terms);
    sums[0] = _mm512_add_pd(sums[0], _mm512_cvtps_pd(_mm512_castps512_ps256(terms)));
    sums[1] = _mm512_add_pd(sums[1], _mm512_cvtps_pd(_mm512_extractf32x8_ps(terms, 1)));
  }
  return _mm512_reduce_add_pd(_mm512_add_pd(sums[0], sums[1]));
}

}  // namespace

const RowKernels kAvx512RowKernels = {RmsNormRow,    SwiGluRow, RotateRow,
                                      ToBFloat16Row, CleanMax,  SumExp};

}  // namespace tidal::cpu
