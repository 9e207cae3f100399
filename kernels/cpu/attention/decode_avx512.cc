// Decode attention for AVX-512 with BF16 dot products. Compiled with those
// instructions, so nothing here may be an inline function that other files share.
#include <immintrin.h>

#include "kernels/cpu/attention/attention_kernels.h"

namespace tidal::cpu {
namespace {

constexpr int kTile = 16;                  // tokens scored together: one vector of scores a head
constexpr int kTileHeads = 4;              // query heads that share one load of a K or V row
constexpr int kPrefetchBytes = 16 * 1024;  // of K or V ahead of the arithmetic

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

// scores[h * kSplitTokens + t] = q[h] . k[t] for kHeads heads and the tile's 16 tokens. kD = 0
// takes head_dim at run time. Every token's sum is formed in the same order.
template <int kHeads, int kD>
void ScoreTile(const bfloat16* q, const bfloat16* k, const int64_t* rows, int head_dim,
               float* scores) {
  const int dims = kD > 0 ? kD : head_dim;
  __m512 quads[kHeads][4];
#pragma GCC unroll 4
  for (int quad = 0; quad < 4; ++quad) {
    __m512 sums[kHeads][4];
    for (int h = 0; h < kHeads; ++h) {
      for (int i = 0; i < 4; ++i) sums[h][i] = _mm512_setzero_ps();
    }
    const int64_t* quad_rows = rows + quad * 4;
    int d = 0;
    for (; d + 32 <= dims; d += 32) {
      __m512bh key[4];
      for (int i = 0; i < 4; ++i) key[i] = LoadBf16(k + quad_rows[i] + d);
      for (int h = 0; h < kHeads; ++h) {
        const __m512bh query = LoadBf16(q + h * dims + d);
        for (int i = 0; i < 4; ++i) sums[h][i] = _mm512_dpbf16_ps(sums[h][i], key[i], query);
      }
    }
    if (d < dims) {
      for (int i = 0; i < 4; ++i) {
        const __m512bh key = LoadHalfBf16(k + quad_rows[i] + d);
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
    _mm512_storeu_ps(scores + h * kSplitTokens,
                     ReduceLanes(quads[h][0], quads[h][1], quads[h][2], quads[h][3]));
  }
}

template <int kD>
void ScoreGroup(const SplitTask& task, const bfloat16* q, const bfloat16* k, const int64_t* rows,
                float* scores) {
  int h = 0;
  for (; h + kTileHeads <= task.group_size; h += kTileHeads) {
    ScoreTile<kTileHeads, kD>(q + h * task.head_dim, k, rows, task.head_dim,
                              scores + h * kSplitTokens);
  }
  q += h * task.head_dim;
  scores += h * kSplitTokens;
  switch (task.group_size - h) {
    case 1:
      return ScoreTile<1, kD>(q, k, rows, task.head_dim, scores);
    case 2:
      return ScoreTile<2, kD>(q, k, rows, task.head_dim, scores);
    case 3:
      return ScoreTile<3, kD>(q, k, rows, task.head_dim, scores);
  }
}

// acc[h * stride + d] += weights[h * kSplitTokens + t] * v[t][d] over the tile's first `tokens`
// tokens, in order, for kHeads heads and kVectors * 16 dims. Rows past `tokens` are not touched: a
// weight of 0 would not silence a NaN.
template <int kHeads, int kVectors>
void AccumulateTile(const float* weights, const bfloat16* v, const int64_t* rows, int tokens,
                    int stride, float* acc) {
  __m512 sums[kHeads][kVectors];
  for (int h = 0; h < kHeads; ++h) {
    for (int c = 0; c < kVectors; ++c) sums[h][c] = _mm512_loadu_ps(acc + h * stride + c * 16);
  }
  for (int t = 0; t < tokens; ++t) {
    const bfloat16* row = v + rows[t];
    __m512 value[kVectors];
    for (int c = 0; c < kVectors; ++c) value[c] = ToFloats(row + c * 16);
    for (int h = 0; h < kHeads; ++h) {
      const __m512 weight = _mm512_set1_ps(weights[h * kSplitTokens + t]);
      for (int c = 0; c < kVectors; ++c) {
        sums[h][c] = _mm512_fmadd_ps(weight, value[c], sums[h][c]);
      }
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int c = 0; c < kVectors; ++c) _mm512_storeu_ps(acc + h * stride + c * 16, sums[h][c]);
  }
}

template <int kHeads>
void AccumulateHeads(const float* weights, const bfloat16* v, const int64_t* rows, int tokens,
                     int head_dim, float* acc) {
  int d = 0;
  for (; d + 64 <= head_dim; d += 64) {
    AccumulateTile<kHeads, 4>(weights, v + d, rows, tokens, head_dim, acc + d);
  }
  for (; d < head_dim; d += 16) {
    AccumulateTile<kHeads, 1>(weights, v + d, rows, tokens, head_dim, acc + d);
  }
}

void AccumulateGroup(const SplitTask& task, const float* weights, const bfloat16* v,
                     const int64_t* rows, int tokens, float* acc) {
  int h = 0;
  for (; h + kTileHeads <= task.group_size; h += kTileHeads) {
    AccumulateHeads<kTileHeads>(weights + h * kSplitTokens, v, rows, tokens, task.head_dim,
                                acc + h * task.head_dim);
  }
  weights += h * kSplitTokens;
  acc += h * task.head_dim;
  switch (task.group_size - h) {
    case 1:
      return AccumulateHeads<1>(weights, v, rows, tokens, task.head_dim, acc);
    case 2:
      return AccumulateHeads<2>(weights, v, rows, tokens, task.head_dim, acc);
    case 3:
      return AccumulateHeads<3>(weights, v, rows, tokens, task.head_dim, acc);
  }
}

// Where the split's rows are, in elements from k or v, for KV head 0; the last tile is filled up
// with the last row, so that whole tiles can be scored without reading any other row.
void ResolveRows(const SplitTask& task, int64_t* rows) {
  const int shift = __builtin_ctz(task.block_size);
  const int mask = task.block_size - 1;
  const int64_t block_rows = int64_t{task.num_kv_heads} * task.block_size;
  for (int t = 0; t < task.num_tokens; ++t) {
    const int64_t block = task.blocks ? task.blocks[t >> shift] : task.slots[t] >> shift;
    const int row = (task.blocks ? t : task.slots[t]) & mask;
    rows[t] = (block * block_rows + row) * task.head_dim;
  }
  for (int t = task.num_tokens; t % kTile != 0; ++t) rows[t] = rows[t - 1];
}

// Walks the split's tiles in the order they are computed (all K, then all V; the KV heads of a tile
// one after the other), a fixed number of bytes ahead. The hardware's prefetchers stop at page ends
// and know nothing of block tables. Into L2: L1 is too small to wait in, and its few miss buffers
// would be what limits the bandwidth.
class Prefetcher {
 public:
  Prefetcher(const SplitTask& task, const int64_t* rows)
      : task_(task),
        rows_(rows),
        base_(task.k),
        kv_(task.kv_begin),
        // Tokens of a tile lie side by side in their block.
        pieces_(task.blocks ? 1 : kTile),
        piece_bytes_(kTile / pieces_ * task.head_dim * 2) {
    const int step_bytes = kTile * task.head_dim * 2;
    for (int bytes = 0; bytes < kPrefetchBytes; bytes += step_bytes) Step();
  }

  void Step() {
    if (tile_ >= task_.num_tokens) {
      if (base_ == task_.v) return;
      base_ = task_.v;
      tile_ = 0;
    }
    const bfloat16* head = base_ + int64_t{kv_} * task_.block_size * task_.head_dim;
    for (int i = 0; i < pieces_; ++i) {
      const char* piece = reinterpret_cast<const char*>(head + rows_[tile_ + i]);
      for (int b = 0; b < piece_bytes_; b += 64) _mm_prefetch(piece + b, _MM_HINT_T1);
    }
    if (++kv_ == task_.kv_end) {
      kv_ = task_.kv_begin;
      tile_ += kTile;
    }
  }

 private:
  const SplitTask& task_;
  const int64_t* rows_;
  const bfloat16* base_;
  int tile_ = 0;
  int kv_;
  int pieces_, piece_bytes_;
};

// Turns the raw scores of one head into weights.
void Softmax(const SplitTask& task, int head) {
  float* scores = task.weights + head * kSplitTokens;
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
  const float* scores = task.weights + kv * task.group_size * kSplitTokens;
  float* maxima = task.max_logits + kv * kSplitTokens;
  for (int t = 0; t < task.num_tokens; t += 16) {
    __m512 largest = _mm512_set1_ps(-__builtin_inff());
    for (int h = 0; h < task.group_size; ++h) {
      largest = _mm512_max_ps(_mm512_loadu_ps(scores + h * kSplitTokens + t), largest);
    }
    _mm512_storeu_ps(maxima + t, largest);
  }
}

template <int kD>
void AttendSplit(const SplitTask& task) {
  int64_t rows[kSplitTokens];
  ResolveRows(task, rows);
  Prefetcher prefetcher(task, rows);
  const int d = task.head_dim;
  const int g = task.group_size;
  for (int t = 0; t < task.num_tokens; t += kTile) {
    for (int kv = task.kv_begin; kv < task.kv_end; ++kv) {
      prefetcher.Step();
      ScoreGroup<kD>(task, task.q + kv * g * d, task.k + int64_t{kv} * task.block_size * d,
                     rows + t, task.weights + kv * g * kSplitTokens + t);
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
      prefetcher.Step();
      AccumulateGroup(task, task.weights + kv * g * kSplitTokens + t,
                      task.v + int64_t{kv} * task.block_size * d, rows + t, tokens,
                      task.acc + kv * g * d);
    }
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
