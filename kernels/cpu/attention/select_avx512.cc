// Ranking and top-k for AVX-512. Compiled with those instructions, so nothing here may be an inline
// function that other files share.
#include <immintrin.h>

#include "kernels/cpu/attention/attention_kernels.h"

namespace tidal::cpu {
namespace {

__mmask16 FirstLanes(int count) { return count >= 16 ? 0xffff : (1u << count) - 1; }

// RankKey of select_tokens.h.
__m512i RankKeys(__m512 score) {
  const __m512i bits = _mm512_castps_si512(_mm512_add_ps(score, _mm512_setzero_ps()));
  const __m512i flip = _mm512_or_si512(_mm512_srai_epi32(bits, 31), _mm512_set1_epi32(INT32_MIN));
  return _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(score, score, _CMP_UNORD_Q),
                                 _mm512_xor_si512(bits, flip), _mm512_set1_epi32(0x007fffff));
}

void RankSums(const float* weights, const float* factors, int32_t num_heads, int32_t tokens,
              uint32_t* keys) {
  for (int t = 0; t < tokens; t += 16) {
    const __mmask16 valid = FirstLanes(tokens - t);
    __m512 sum = _mm512_setzero_ps();
    for (int h = 0; h < num_heads; ++h) {
      const __m512 weight = _mm512_maskz_loadu_ps(valid, weights + h * kWeightStride + t);
      sum = _mm512_fmadd_ps(_mm512_set1_ps(factors[h]), weight, sum);
    }
    _mm512_mask_storeu_epi32(keys + t, valid, RankKeys(sum));
  }
}

void RankMaxima(const float* logits, int32_t num_heads, int32_t tokens, uint32_t* keys) {
  for (int t = 0; t < tokens; t += 16) {
    const __mmask16 valid = FirstLanes(tokens - t);
    __m512 largest = _mm512_set1_ps(-__builtin_inff());
    for (int h = 0; h < num_heads; ++h) {
      largest =
          _mm512_max_ps(_mm512_maskz_loadu_ps(valid, logits + h * kWeightStride + t), largest);
    }
    _mm512_mask_storeu_epi32(keys + t, valid, RankKeys(largest));
  }
}

void CountAtLeast(const uint32_t* keys, int32_t count, const uint32_t* thresholds,
                  int32_t* counts) {
  const __m512i one = _mm512_set1_epi32(1);
  __m512i limit[3], totals[3];
  for (int j = 0; j < 3; ++j) {
    limit[j] = _mm512_set1_epi32(static_cast<int>(thresholds[j]));
    totals[j] = _mm512_setzero_si512();
  }
  for (int i = 0; i < count; i += 16) {
    const __mmask16 valid = FirstLanes(count - i);
    const __m512i key = _mm512_maskz_loadu_epi32(valid, keys + i);
    for (int j = 0; j < 3; ++j) {
      const __mmask16 at_least = _mm512_mask_cmpge_epu32_mask(valid, key, limit[j]);
      totals[j] = _mm512_mask_add_epi32(totals[j], at_least, totals[j], one);
    }
  }
  for (int j = 0; j < 3; ++j) counts[j] = _mm512_reduce_add_epi32(totals[j]);
}

KeyPartition Partition(const uint32_t* keys, int32_t count, uint32_t low, uint32_t high,
                       uint32_t* candidates) {
  const __m512i lows = _mm512_set1_epi32(static_cast<int>(low));
  const __m512i highs = _mm512_set1_epi32(static_cast<int>(high));
  KeyPartition result{0, 0};
  for (int i = 0; i < count; i += 16) {
    const __mmask16 valid = FirstLanes(count - i);
    const __m512i key = _mm512_maskz_loadu_epi32(valid, keys + i);
    const __mmask16 at_least = _mm512_mask_cmpge_epu32_mask(valid, key, lows);
    const __mmask16 above = _mm512_mask_cmpgt_epu32_mask(at_least, key, highs);
    const __mmask16 between = at_least & ~above;
    result.above += __builtin_popcount(above);
    if (between == 0) continue;
    _mm512_storeu_si512(candidates + result.candidates, _mm512_maskz_compress_epi32(between, key));
    result.candidates += __builtin_popcount(between);
  }
  return result;
}

int32_t Emit(const uint32_t* keys, int32_t count, uint32_t threshold, int32_t ties, int32_t first,
             int32_t* positions) {
  const __m512i limit = _mm512_set1_epi32(static_cast<int>(threshold));
  const __m512i step = _mm512_set1_epi32(16);
  __m512i position =
      _mm512_add_epi32(_mm512_set1_epi32(first),
                       _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  int32_t written = 0;
  for (int i = 0; i < count; i += 16, position = _mm512_add_epi32(position, step)) {
    const __mmask16 valid = FirstLanes(count - i);
    const __m512i key = _mm512_maskz_loadu_epi32(valid, keys + i);
    const __mmask16 at_least = _mm512_mask_cmpge_epu32_mask(valid, key, limit);
    if (at_least == 0) continue;
    const __mmask16 above = _mm512_mask_cmpgt_epu32_mask(at_least, key, limit);
    unsigned equal = at_least & ~above;
    unsigned chosen = above;
    for (; equal != 0 && ties > 0; --ties, equal &= equal - 1) chosen |= equal & -equal;
    const int n = __builtin_popcount(chosen);
    _mm512_mask_storeu_epi32(positions + written, FirstLanes(n),
                             _mm512_maskz_compress_epi32(chosen, position));
    written += n;
  }
  return written;
}

}  // namespace

const SelectKernels kAvx512SelectKernels = {RankSums, RankMaxima, CountAtLeast, Partition, Emit};

}  // namespace tidal::cpu
