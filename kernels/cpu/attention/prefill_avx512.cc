// Prefill attention for AVX-512 BF16. Both products run on VDPBF16PS, which multiplies pairs:
// pairs along D for the scores, pairs of tokens for the values. So a key tile is packed once into
//   K: [tokens / 64][D / 2][64 tokens] pairs (k[2i], k[2i + 1]) of one token
//   V: [D / 64][tokens / 2][64 dimensions] pairs (v of token 2i, v of token 2i + 1)
// and then serves all rows of the task, kRows at a time, from the L2 cache. 6 rows by 4 vectors of
// accumulators, 4 vectors of packed operands: 28 registers, and enough independent chains to keep
// the multipliers busy.
#include <algorithm>
#include <limits>

#include "kernels/cpu/attention/prefill_tile.h"
#include "kernels/cpu/avx512_math.h"

namespace tidal::cpu {
namespace {

constexpr int32_t kRows = 6;
constexpr int32_t kPanel = 64;  // tokens or dimensions of four vectors
constexpr float kLog2e = 1.44269504f;
constexpr float kNoScore = -1e30f;  // below every score, and finite when scaled

inline __m512bh AsPairs(__m512i x) { return reinterpret_cast<__m512bh>(x); }
inline __m512bh BroadcastPair(const uint32_t* pair) {
  return AsPairs(_mm512_set1_epi32(static_cast<int>(*pair)));
}

// c[r][n] += sum over i of a[r][i] * b[i][n], for rows r < R, vectors n < N and `pairs` pairs i.
// a: rows of a_stride pairs. b: N vectors a pair.
template <int R, int N>
inline void MultiplyPairs(const uint32_t* a, int64_t a_stride, const uint32_t* b, int32_t pairs,
                          __m512 (&c)[R][N]) {
  for (int32_t i = 0; i < pairs; ++i) {
    __m512bh panel[N];
    for (int n = 0; n < N; ++n) panel[n] = AsPairs(_mm512_loadu_si512(b + (i * N + n) * 16));
    for (int r = 0; r < R; ++r) {
      const __m512bh x = BroadcastPair(a + r * a_stride + i);
      for (int n = 0; n < N; ++n) c[r][n] = _mm512_dpbf16_ps(c[r][n], x, panel[n]);
    }
  }
}

// Transposes 16 x 16 elements of 32 bits.
inline void Transpose16(__m512i (&r)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // Now r[4 g + j] holds, in its 128-bit lane L, element 4 L + j of rows 4 g .. 4 g + 3.
  for (int j = 0; j < 4; ++j) {
    t[j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
    t[4 + j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
    t[8 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
  }
  for (int j = 0; j < 4; ++j) {
    r[j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0x88);
    r[8 + j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0xdd);
    r[4 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0x88);
    r[12 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0xdd);
  }
}

// First element of the row of token `position` in K or V.
inline int64_t RowOffset(const PrefillTile& tile, int32_t position) {
  const PagedKvCache& kv = tile.params->kv;
  const int64_t block = tile.blocks[position / kv.block_size];
  return ((block * kv.num_kv_heads + tile.kv_head) * kv.block_size + position % kv.block_size) *
         kv.head_dim;
}

// Packs the keys of `count` tokens from `start`; zeros up to the next multiple of kPanel.
void PackKeys(const PrefillTile& tile, int32_t start, int32_t count, uint32_t* packed) {
  const int32_t pairs = tile.params->kv.head_dim / 2;
  for (int32_t t = 0; t < (count + kPanel - 1) / kPanel * kPanel; t += 16) {
    const int32_t rows = std::clamp(count - t, 0, 16);
    // 16 tokens never straddle blocks: block sizes and tiles are multiples of 16.
    const bfloat16* k =
        rows > 0 ? tile.params->kv.k + RowOffset(tile, start + t) : tile.params->kv.v;
    uint32_t* out = packed + t / kPanel * kPanel * pairs + t % kPanel;
    for (int32_t i = 0; i < pairs; i += 16) {
      const __mmask16 lanes = FirstLanes(pairs - i);
      __m512i r[16];
      for (int32_t j = 0; j < 16; ++j) {
        r[j] = j < rows ? _mm512_maskz_loadu_epi32(lanes, k + j * 2 * pairs + 2 * i)
                        : _mm512_setzero_si512();
      }
      Transpose16(r);
      const int32_t used = std::min(16, pairs - i);
      for (int32_t j = 0; j < used; ++j) _mm512_store_si512(out + (i + j) * kPanel, r[j]);
    }
  }
}

// Packs the values of the tokens [begin, count) from `start`; zeros before them and up to the next
// multiple of kPanel after them. Returns whether all are finite.
bool PackValues(const PrefillTile& tile, int32_t start, int32_t begin, int32_t count,
                uint32_t* packed) {
  const int32_t head_dim = tile.params->kv.head_dim;
  const __m512i exponent = _mm512_set1_epi16(0x7f80);
  __mmask32 not_finite = 0;
  const int32_t padded = (count + kPanel - 1) / kPanel * kPanel;
  for (int32_t t = 0; t < padded; t += 2) {
    const bfloat16* v =
        t < count ? tile.params->kv.v + RowOffset(tile, start + t) : tile.params->kv.v;
    const __mmask16 even = t >= begin && t < count ? 0xffff : 0;
    const __mmask16 odd = t + 1 >= begin && t + 1 < count ? 0xffff : 0;
    for (int32_t d = 0; d < head_dim; d += 16) {
      // Masked lanes are not read. Tokens 2i and 2i + 1 are in one block.
      const __m512i a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(even, v + d));
      const __m512i b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(odd, v + head_dim + d));
      const __m512i pair = _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
      not_finite |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(pair, exponent), exponent);
      const int32_t panel = d / kPanel * kPanel;
      const int32_t width = std::min(kPanel, head_dim - panel);
      _mm512_store_si512(packed + panel * (kKeyTile / 2) + t / 2 * width + d - panel, pair);
    }
  }
  return not_finite == 0;
}

// Rows [row, row + R) of the task against the packed tile.
struct RowGroup {
  int32_t row;
  int32_t head_dim;
  int32_t padded;             // tokens of the tile to pass over, a multiple of kPanel
  VisibleTokens seen[kRows];  // tokens of the tile each row sees, ending at most at `padded`
  float scale;                // of the scores, log2(e) included
};

// scores[r] = q[r] . k of `padded` tokens.
template <int R>
void Score(const RowGroup& g, const PrefillScratch& s, float (&scores)[kRows][kKeyTile]) {
  const int32_t pairs = g.head_dim / 2;
  const uint32_t* q = reinterpret_cast<const uint32_t*>(s.q) + g.row * pairs;
  for (int32_t t = 0; t < g.padded; t += kPanel) {
    __m512 c[R][4] = {};
    MultiplyPairs(q, pairs, s.k + t * pairs, pairs, c);
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < 4; ++n) _mm512_store_ps(scores[r] + t + 16 * n, c[r][n]);
    }
  }
}

// 2^x to 3e-6 relative for x <= 0: weights are rounded to bf16, 2e-3, anyway. Exact at 0.
inline __m512 WeightExp2(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-200.0f), x);  // in this order a NaN stays
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, n);
  __m512 y = _mm512_set1_ps(9.58285277e-3f);
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(5.5906425e-2f));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(2.40240986e-1f));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(6.93124193e-1f));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(y, n);
}

// Online softmax of one row: turns scores into weights (bf16), moves max and sum forward and
// returns the factor for what was accumulated under the old maximum.
inline float SoftmaxRow(const RowGroup& g, int r, const PrefillScratch& s, float* scores,
                        bfloat16* weights) {
  const int32_t row = g.row + r;
  __m512 largest = _mm512_set1_ps(kNoScore);
  const __m512 hidden = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  const auto [begin, end] = g.seen[r];
  if (begin == 0 && end >= g.padded) {
    for (int32_t t = 0; t < g.padded; t += 16) {
      largest = _mm512_max_ps(largest, _mm512_load_ps(scores + t));
    }
  } else {
    for (int32_t t = 0; t < g.padded; t += 16) {
      const __mmask16 seen = FirstLanes(end - t) & ~FirstLanes(begin - t);
      const __m512 x = _mm512_mask_mov_ps(hidden, seen, _mm512_load_ps(scores + t));
      _mm512_store_ps(scores + t, x);
      largest = _mm512_max_ps(largest, x);
    }
  }
  const float max = std::max(s.max[row], _mm512_reduce_max_ps(largest));
  const __m512 scale = _mm512_set1_ps(g.scale);
  const __m512 offset = _mm512_set1_ps(-max * g.scale);
  const __m512 factor = Exp2(_mm512_set1_ps((s.max[row] - max) * g.scale));
  __m512 sum0 = _mm512_mul_ps(_mm512_load_ps(s.sum + row * 16), factor);
  __m512 sum1 = _mm512_setzero_ps();
  for (int32_t t = 0; t < g.padded; t += 32) {
    const __m512 w0 = WeightExp2(_mm512_fmadd_ps(_mm512_load_ps(scores + t), scale, offset));
    const __m512 w1 = WeightExp2(_mm512_fmadd_ps(_mm512_load_ps(scores + t + 16), scale, offset));
    sum0 = _mm512_add_ps(sum0, w0);
    sum1 = _mm512_add_ps(sum1, w1);
    _mm512_store_si512(weights + t, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(w1, w0)));
  }
  _mm512_store_ps(s.sum + row * 16, _mm512_add_ps(sum0, sum1));
  s.max[row] = max;
  return _mm512_cvtss_f32(factor);
}

// acc[r][d, d + 16 N) = acc * factors[r] + weights[r] . v
template <int R, int N>
void Accumulate(const RowGroup& g, const PrefillScratch& s, const bfloat16* weights,
                const float* factors, int32_t d) {
  __m512 c[R][N];
  float* acc = s.acc + int64_t{g.row} * g.head_dim + d;
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) {
      c[r][n] =
          _mm512_mul_ps(_mm512_load_ps(acc + r * g.head_dim + 16 * n), _mm512_set1_ps(factors[r]));
    }
  }
  MultiplyPairs(reinterpret_cast<const uint32_t*>(weights), kKeyTile / 2, s.v + d * (kKeyTile / 2),
                g.padded / 2, c);
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) _mm512_store_ps(acc + r * g.head_dim + 16 * n, c[r][n]);
  }
}

template <int R>
void AttendRows(const RowGroup& g, const PrefillScratch& s) {
  alignas(64) float scores[kRows][kKeyTile];
  alignas(64) bfloat16 weights[kRows][kKeyTile];
  float factors[kRows];
  Score<R>(g, s, scores);
  for (int r = 0; r < R; ++r) factors[r] = SoftmaxRow(g, r, s, scores[r], weights[r]);
  int32_t d = 0;
  for (; d + kPanel <= g.head_dim; d += kPanel) {
    Accumulate<R, 4>(g, s, weights[0], factors, d);
  }
  switch ((g.head_dim - d) / 16) {
    case 3:
      return Accumulate<R, 3>(g, s, weights[0], factors, d);
    case 2:
      return Accumulate<R, 2>(g, s, weights[0], factors, d);
    case 1:
      return Accumulate<R, 1>(g, s, weights[0], factors, d);
    default:
      return;
  }
}

// `rows` rows from `row` against the packed tile of `count` tokens from `start`.
void AttendGroup(const PrefillTile& tile, int32_t start, int32_t count, int32_t row, int32_t rows,
                 const PrefillScratch& s) {
  const PrefillAttentionParams& p = *tile.params;
  const int32_t group = p.num_heads / p.kv.num_kv_heads;
  RowGroup g{.row = row,
             .head_dim = p.kv.head_dim,
             .padded = 0,
             .seen = {},
             .scale = p.softmax_scale * kLog2e};
  for (int32_t r = 0; r < rows; ++r) {
    g.seen[r] = VisibleInTile(tile, tile.first_position + (row + r) / group, start, count);
  }
  const int32_t begin = g.seen[0].begin, end = g.seen[rows - 1].end;
  if (end <= begin) return;  // all of the tile lies after these rows, or before their windows
  g.padded = (end + kPanel - 1) / kPanel * kPanel;
  switch (rows) {
    case 1:
      return AttendRows<1>(g, s);
    case 2:
      return AttendRows<2>(g, s);
    case 3:
      return AttendRows<3>(g, s);
    case 4:
      return AttendRows<4>(g, s);
    case 5:
      return AttendRows<5>(g, s);
    default:
      return AttendRows<6>(g, s);
  }
}

// A tile whose values are not all finite: a weight of zero no longer hides a value that a row must
// not see, so for each row the values are packed that it does see.
void AttendRowsApart(const PrefillTile& tile, int32_t start, int32_t count, int32_t rows,
                     const PrefillScratch& s) {
  const int32_t group = tile.params->num_heads / tile.params->kv.num_kv_heads;
  for (int32_t row = 0; row < rows; ++row) {
    const VisibleTokens seen = VisibleInTile(tile, tile.first_position + row / group, start, count);
    if (seen.end <= seen.begin) continue;
    PackValues(tile, start, seen.begin, seen.end, s.v);
    AttendGroup(tile, start, count, row, 1, s);
  }
}

}  // namespace

void AttendPrefillTileAvx512(const PrefillTile& tile, PrefillScratch& s) {
  const PrefillAttentionParams& p = *tile.params;
  const int32_t head_dim = p.kv.head_dim;
  const int32_t group = p.num_heads / p.kv.num_kv_heads;
  const int32_t rows = tile.num_tokens * group;
  const auto offset_of = [&](int32_t row) {
    return (int64_t{tile.first_token + row / group} * p.num_heads + tile.kv_head * group +
            row % group) *
           head_dim;
  };
  for (int32_t row = 0; row < rows; ++row) {
    std::copy_n(p.q + offset_of(row), head_dim, s.q + row * head_dim);
  }
  std::fill_n(s.max, rows, kNoScore);
  std::fill_n(s.sum, rows * 16, 0.0f);
  std::fill_n(s.acc, rows * head_dim, 0.0f);

  const int32_t end = tile.first_position + tile.num_tokens;
  for (int32_t start = FirstKeyTile(tile); start < end; start += kKeyTile) {
    const int32_t count = std::min(kKeyTile, end - start);
    PackKeys(tile, start, count, s.k);
    const bool finite = PackValues(tile, start, 0, count, s.v);
    const bool all_seen = VisibleInTile(tile, tile.first_position, start, count).end == count &&
                          VisibleInTile(tile, end - 1, start, count).begin == 0;
    if (!finite && !all_seen) {
      AttendRowsApart(tile, start, count, rows, s);
      continue;
    }
    for (int32_t row = 0; row < rows; row += kRows) {
      AttendGroup(tile, start, count, row, std::min(kRows, rows - row), s);
    }
  }

  for (int32_t row = 0; row < rows; ++row) {
    const __m512 inverse =
        _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(_mm512_load_ps(s.sum + row * 16)));
    for (int32_t d = 0; d < head_dim; d += 16) {
      StoreAs(p.out_type, p.out, offset_of(row) + d, 0xffff,
              _mm512_mul_ps(_mm512_load_ps(s.acc + row * head_dim + d), inverse));
    }
  }
}

}  // namespace tidal::cpu
