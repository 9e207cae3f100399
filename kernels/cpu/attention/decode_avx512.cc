// Decode attention for AVX-512 with BF16 dot products. Compiled with those
// instructions, so nothing here may be an inline function that other files share.
#include <immintrin.h>

#include "kernels/cpu/attention/attention_kernels.h"

namespace tidal::cpu {
namespace {

constexpr int kTile = 16;                 // tokens scored together: one vector of scores a head
constexpr int kTileHeads = 4;             // query heads that share one load of a K or V row
constexpr int kWriteAhead = 8 * kTile;    // tokens whose scores are prefetched for writing
constexpr int kPrefetchBytes = 8 * 1024;  // of K or V ahead of the arithmetic, at least

__m512bh LoadBf16(const bfloat16* p) { return (__m512bh)_mm512_loadu_si512(p); }
__m512bh LoadHalfBf16(const bfloat16* p) { return (__m512bh)_mm512_maskz_loadu_epi16(0xffff, p); }

__m512 ToFloats(const bfloat16* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

__mmask16 FirstLanes(int count) { return count >= 16 ? 0xffff : (1u << count) - 1; }

// 2^x to 2 units in the last place, 0 below -149. A NaN stays a NaN. The polynomial is the
// minimax fit of 2^r on [-1/2, 1/2].
__m512 Exp2(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-160.0f), x);  // in this order: the second operand's NaN stays
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 r = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(1.5352422e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3399859e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.6184373e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.5503324e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.4022648e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.9314720e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

// The rows of a tile: token i's is at base + offsets[i].
struct TileRows {
  const bfloat16* base;
  const int64_t* offsets;
  const bfloat16* operator[](int i) const { return base + offsets[i]; }
};

// Into L2: L1 is too small to wait in, and its few miss buffers would limit the bandwidth.
void Prefetch(const bfloat16* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }

// The line will be written. Weights that are kept for a selection go to memory no cache holds.
void PrefetchForWrite(const float* p) { __builtin_prefetch(p, 1); }

// Four vectors of partial sums to one: 128-bit lane L holds lane L's sums of a, b, c and d.
__m512 Reduce4(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512d x = _mm512_castps_pd(ab), y = _mm512_castps_pd(cd);
  return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                       _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}

// Adds up the lanes of four results of Reduce4: the 16 sums in order.
__m512 ReduceLanes(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512 ab =
      _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  const __m512 cd =
      _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x88), _mm512_shuffle_f32x4(c, d, 0xdd));
  return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
}

// scores[h * kWeightStride + t] = q[h] . k[t] for kHeads heads and the tile's 16 tokens. kD = 0
// takes head_dim at run time. Every token's sum is formed in the same order. Prefetches `ahead`
// row by row: a burst would overflow the miss buffers, then leave them idle.
template <int kHeads, int kD>
void ScoreTile(const bfloat16* q, TileRows k, TileRows ahead, int head_dim, float* scores) {
  const int dims = kD > 0 ? kD : head_dim;
  __m512 quads[kHeads][4];
  for (int quad = 0; quad < 4; ++quad) {
    const int first = quad * 4;
    __m512 sums[kHeads][4];
    for (int h = 0; h < kHeads; ++h) {
      for (int i = 0; i < 4; ++i) sums[h][i] = _mm512_setzero_ps();
    }
    int d = 0;
    for (; d + 32 <= dims; d += 32) {
      __m512bh key[4];
      for (int i = 0; i < 4; ++i) key[i] = LoadBf16(k[first + i] + d);
      for (int i = 0; i < 4; ++i) Prefetch(ahead[first + i] + d);
      for (int h = 0; h < kHeads; ++h) {
        const __m512bh query = LoadBf16(q + h * dims + d);
        for (int i = 0; i < 4; ++i) sums[h][i] = _mm512_dpbf16_ps(sums[h][i], key[i], query);
      }
    }
    if (d < dims) {
      for (int i = 0; i < 4; ++i) {
        const __m512bh key = LoadHalfBf16(k[first + i] + d);
        Prefetch(ahead[first + i] + d);
        for (int h = 0; h < kHeads; ++h) {
          const __m512bh query = LoadHalfBf16(q + h * dims + d);
          sums[h][i] = _mm512_dpbf16_ps(sums[h][i], key, query);
        }
      }
    }
    for (int h = 0; h < kHeads; ++h) {
      quads[h][quad] = Reduce4(sums[h][0], sums[h][1], sums[h][2], sums[h][3]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    _mm512_storeu_ps(scores + h * kWeightStride,
                     ReduceLanes(quads[h][0], quads[h][1], quads[h][2], quads[h][3]));
  }
}

template <int kD>
void ScoreGroup(const SplitTask& task, const bfloat16* q, TileRows k, TileRows ahead,
                float* scores) {
  const int dims = task.head_dim;
  int h = 0;
  for (; h + kTileHeads <= task.group_size; h += kTileHeads) {
    ScoreTile<kTileHeads, kD>(q + h * dims, k, ahead, dims, scores + h * kWeightStride);
  }
  q += h * dims;
  scores += h * kWeightStride;
  switch (task.group_size - h) {
    case 1:
      return ScoreTile<1, kD>(q, k, ahead, dims, scores);
    case 2:
      return ScoreTile<2, kD>(q, k, ahead, dims, scores);
    case 3:
      return ScoreTile<3, kD>(q, k, ahead, dims, scores);
  }
}

// Each vector of 32 bf16 in memory becomes two of floats, the even and the odd elements: a shift
// and a mask, where unpacking in order takes twice the instructions. Sums stay in that order until
// the split is done.
struct EvenOdd {
  __m512 even, odd;
};

EvenOdd ToEvenOdd(const bfloat16* p) {
  const __m512i bits = _mm512_loadu_si512(p);
  const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(bits, 16)),
          _mm512_castsi512_ps(_mm512_and_si512(bits, high))};
}

// Puts 32 sums back in order.
void Interleave(float* sums) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high =
      _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  const __m512 even = _mm512_loadu_ps(sums), odd = _mm512_loadu_ps(sums + 16);
  _mm512_storeu_ps(sums, _mm512_permutex2var_ps(even, low, odd));
  _mm512_storeu_ps(sums + 16, _mm512_permutex2var_ps(even, high, odd));
}

// acc[h * stride + d] += weights[h * kWeightStride + t] * v[t][d] over the tile's first `tokens`
// tokens, in order, for kHeads heads and kPairs * 32 dims. Rows past `tokens` are not touched: a
// weight of 0 would not silence a NaN.
template <int kHeads, int kPairs>
void AccumulateTile(const float* weights, TileRows v, TileRows ahead, int tokens, int stride,
                    float* acc) {
  __m512 even[kHeads][kPairs], odd[kHeads][kPairs];
  for (int h = 0; h < kHeads; ++h) {
    for (int c = 0; c < kPairs; ++c) {
      even[h][c] = _mm512_loadu_ps(acc + h * stride + c * 32);
      odd[h][c] = _mm512_loadu_ps(acc + h * stride + c * 32 + 16);
    }
  }
  for (int t = 0; t < tokens; ++t) {
    EvenOdd value[kPairs];
    for (int c = 0; c < kPairs; ++c) {
      value[c] = ToEvenOdd(v[t] + c * 32);
      Prefetch(ahead[t] + c * 32);
    }
    for (int h = 0; h < kHeads; ++h) {
      const __m512 weight = _mm512_set1_ps(weights[h * kWeightStride + t]);
      for (int c = 0; c < kPairs; ++c) {
        even[h][c] = _mm512_fmadd_ps(weight, value[c].even, even[h][c]);
        odd[h][c] = _mm512_fmadd_ps(weight, value[c].odd, odd[h][c]);
      }
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int c = 0; c < kPairs; ++c) {
      _mm512_storeu_ps(acc + h * stride + c * 32, even[h][c]);
      _mm512_storeu_ps(acc + h * stride + c * 32 + 16, odd[h][c]);
    }
  }
}

// The same for the last 16 dims of a head_dim that is not a multiple of 32, in plain order.
template <int kHeads>
void AccumulateTail(const float* weights, TileRows v, int tokens, int stride, float* acc) {
  __m512 sums[kHeads];
  for (int h = 0; h < kHeads; ++h) sums[h] = _mm512_loadu_ps(acc + h * stride);
  for (int t = 0; t < tokens; ++t) {
    const __m512 value = ToFloats(v[t]);
    for (int h = 0; h < kHeads; ++h) {
      sums[h] = _mm512_fmadd_ps(_mm512_set1_ps(weights[h * kWeightStride + t]), value, sums[h]);
    }
  }
  for (int h = 0; h < kHeads; ++h) _mm512_storeu_ps(acc + h * stride, sums[h]);
}

template <int kHeads>
void AccumulateHeads(const float* weights, TileRows v, TileRows ahead, int tokens, int head_dim,
                     float* acc) {
  int d = 0;
  for (; d + 64 <= head_dim; d += 64) {
    AccumulateTile<kHeads, 2>(weights, {v.base + d, v.offsets}, {ahead.base + d, ahead.offsets},
                              tokens, head_dim, acc + d);
  }
  if (d + 32 <= head_dim) {
    AccumulateTile<kHeads, 1>(weights, {v.base + d, v.offsets}, {ahead.base + d, ahead.offsets},
                              tokens, head_dim, acc + d);
    d += 32;
  }
  if (d < head_dim) {
    AccumulateTail<kHeads>(weights, {v.base + d, v.offsets}, tokens, head_dim, acc + d);
  }
}

void AccumulateGroup(const SplitTask& task, const float* weights, TileRows v, TileRows ahead,
                     int tokens, float* acc) {
  const int dims = task.head_dim;
  int h = 0;
  for (; h + kTileHeads <= task.group_size; h += kTileHeads) {
    AccumulateHeads<kTileHeads>(weights + h * kWeightStride, v, ahead, tokens, dims,
                                acc + h * dims);
  }
  weights += h * kWeightStride;
  acc += h * dims;
  switch (task.group_size - h) {
    case 1:
      return AccumulateHeads<1>(weights, v, ahead, tokens, dims, acc);
    case 2:
      return AccumulateHeads<2>(weights, v, ahead, tokens, dims, acc);
    case 3:
      return AccumulateHeads<3>(weights, v, ahead, tokens, dims, acc);
  }
}

// Where the split's rows are, in elements from k or v, for KV head 0; the last tile is filled up
// with the last row, so that whole tiles can be scored without reading any other row.
void ResolveRows(const SplitTask& task, int64_t* rows) {
  const int shift = __builtin_ctz(task.block_size);
  const int mask = task.block_size - 1;
  const int64_t block_rows = int64_t{task.num_kv_heads} * task.block_size;
  for (int t = 0; t < task.num_tokens; ++t) {
    const int at = task.blocks ? task.block_offset + t : task.slots[t];
    const int64_t block = task.blocks ? task.blocks[at >> shift] : at >> shift;
    rows[t] = (block * block_rows + (at & mask)) * task.head_dim;
  }
  for (int t = task.num_tokens; t % kTile != 0; ++t) rows[t] = rows[t - 1];
}

// Turns the raw scores of one head into weights.
void Softmax(const SplitTask& task, int head) {
  float* scores = task.weights + head * kWeightStride;
  const __m512 scale = _mm512_set1_ps(task.softmax_scale * 1.44269504088896341f);
  // The start keeps a head without any finite score from computing -infinity - -infinity; in
  // max(x, old) a NaN score is passed over, and comes back through its weight.
  __m512 largest = _mm512_set1_ps(-3.402823466e38f);
  for (int t = 0; t < task.num_tokens; t += 16) {
    const __mmask16 valid = FirstLanes(task.num_tokens - t);
    const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(scores + t), scale);
    largest = _mm512_mask_max_ps(largest, valid, x, largest);
  }
  const float max = _mm512_reduce_max_ps(largest);
  const __m512 offset = _mm512_set1_ps(max);
  __m512 sum = _mm512_setzero_ps();
  for (int t = 0; t < task.num_tokens; t += 16) {
    const __mmask16 valid = FirstLanes(task.num_tokens - t);
    const __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(scores + t), scale, offset);
    const __m512 weight = Exp2(x);
    sum = _mm512_mask_add_ps(sum, valid, sum, weight);
    _mm512_storeu_ps(scores + t, weight);
  }
  task.max[head] = max;
  task.sum[head] = _mm512_reduce_add_ps(sum);
}

void GroupMaxima(const SplitTask& task, int kv) {
  const float* scores = task.weights + kv * task.group_size * kWeightStride;
  float* maxima = task.max_logits + kv * kWeightStride;
  for (int t = 0; t < task.num_tokens; t += 16) {
    __m512 largest = _mm512_set1_ps(-__builtin_inff());
    for (int h = 0; h < task.group_size; ++h) {
      largest = _mm512_max_ps(_mm512_loadu_ps(scores + h * kWeightStride + t), largest);
    }
    _mm512_storeu_ps(maxima + t, largest);
  }
}

// The rows of one split in the order in which they are read: all of K, then all of V, by tiles; in
// a tile, KV head by KV head. The hardware's prefetchers stop at page ends and know nothing of
// block tables, so every tile prefetches the one `distance` tokens after it.
class SplitRows {
 public:
  explicit SplitRows(const SplitTask& task) : task_(task) {
    ResolveRows(task, offsets_);
    padded_tokens_ = (task.num_tokens + kTile - 1) / kTile * kTile;
    const int tile_bytes = kTile * (task.kv_end - task.kv_begin) * task.head_dim * 2;
    distance_ = (kPrefetchBytes + tile_bytes - 1) / tile_bytes * kTile;
    for (int t = 0; t < distance_ && t < padded_tokens_; ++t) {
      for (int kv = task.kv_begin; kv < task.kv_end; ++kv) {
        for (int d = 0; d < task.head_dim; d += 32) Prefetch(K(0, kv)[t] + d);
      }
    }
  }

  TileRows K(int t, int kv) const { return {task_.k + HeadOffset(kv), offsets_ + t}; }
  TileRows V(int t, int kv) const { return {task_.v + HeadOffset(kv), offsets_ + t}; }
  TileRows AheadOfK(int t, int kv) const {
    t += distance_;
    if (t < padded_tokens_) return K(t, kv);
    t -= padded_tokens_;
    return V(t < padded_tokens_ ? t : 0, kv);
  }
  TileRows AheadOfV(int t, int kv) const {
    return V(t + distance_ < padded_tokens_ ? t + distance_ : t, kv);
  }

 private:
  int64_t HeadOffset(int kv) const { return int64_t{kv} * task_.block_size * task_.head_dim; }

  const SplitTask& task_;
  int padded_tokens_;
  int distance_;  // in tokens, whole tiles
  int64_t offsets_[kSplitTokens];
};

template <int kD>
void AttendSplit(const SplitTask& task) {
  const SplitRows rows(task);
  const int d = task.head_dim;
  const int g = task.group_size;
  for (int t = 0; t < task.num_tokens; t += kTile) {
    for (int kv = task.kv_begin; kv < task.kv_end; ++kv) {
      float* const scores = task.weights + kv * g * kWeightStride + t;
      for (int h = 0; h < g; ++h) PrefetchForWrite(scores + h * kWeightStride + kWriteAhead);
      ScoreGroup<kD>(task, task.q + kv * g * d, rows.K(t, kv), rows.AheadOfK(t, kv), scores);
    }
  }
  for (int kv = task.kv_begin; kv < task.kv_end; ++kv) {
    if (task.max_logits) GroupMaxima(task, kv);
    for (int h = kv * g; h < (kv + 1) * g; ++h) Softmax(task, h);
  }
  for (int i = task.kv_begin * g * d; i < task.kv_end * g * d; i += 16) {
    _mm512_storeu_ps(task.acc + i, _mm512_setzero_ps());
  }
  for (int t = 0; t < task.num_tokens; t += kTile) {
    const int tokens = task.num_tokens - t < kTile ? task.num_tokens - t : kTile;
    for (int kv = task.kv_begin; kv < task.kv_end; ++kv) {
      AccumulateGroup(task, task.weights + kv * g * kWeightStride + t, rows.V(t, kv),
                      rows.AheadOfV(t, kv), tokens, task.acc + kv * g * d);
    }
  }
  for (int h = task.kv_begin * g; h < task.kv_end * g; ++h) {
    for (int i = 0; i + 32 <= d; i += 32) Interleave(task.acc + h * d + i);
  }
}

void AttendSplitAnyDim(const SplitTask& task) {
  switch (task.head_dim) {
    case 64:
      return AttendSplit<64>(task);
    case 128:
      return AttendSplit<128>(task);
    default:
      return AttendSplit<0>(task);
  }
}

void Combine(const float* acc, int64_t acc_stride, const float* factors, int64_t factor_stride,
             int32_t num_splits, int32_t head_dim, float* out) {
  for (int d = 0; d < head_dim; d += 16) {
    __m512 sum = _mm512_setzero_ps();
    for (int s = 0; s < num_splits; ++s) {
      const __m512 factor = _mm512_set1_ps(factors[s * factor_stride]);
      sum = _mm512_fmadd_ps(factor, _mm512_loadu_ps(acc + s * acc_stride + d), sum);
    }
    _mm512_storeu_ps(out + d, sum);
  }
}

}  // namespace

const DecodeKernels kAvx512DecodeKernels = {AttendSplitAnyDim, Combine};

}  // namespace tidal::cpu
