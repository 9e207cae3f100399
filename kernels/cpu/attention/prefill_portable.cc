// Prefill attention in plain C++: the loops run over tokens or dimensions side by side, in which
// form a compiler turns them into whatever vectors the processor has.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/attention/prefill_tile.h"

namespace tidal::cpu {
namespace {

// Widens K (transposed) and V of `count` tokens from `start`, a multiple of kKeyTile.
void LoadKeyTile(const PrefillTile& tile, int32_t start, int32_t count, PrefillScratch& scratch) {
  const PagedKvCache& kv = tile.params->kv;
  for (int32_t t = 0; t < count; ++t) {
    const int64_t block = tile.blocks[(start + t) / kv.block_size];
    const int64_t row =
        (block * kv.num_kv_heads + tile.kv_head) * kv.block_size + (start + t) % kv.block_size;
    const bfloat16* k = kv.k + row * kv.head_dim;
    const bfloat16* v = kv.v + row * kv.head_dim;
    for (int32_t d = 0; d < kv.head_dim; ++d) {
      scratch.key_floats[d * kKeyTile + t] = ToFloat(k[d]);
      scratch.value_floats[t * kv.head_dim + d] = ToFloat(v[d]);
    }
  }
}

// Brings row `row` forward by the tokens it sees of the loaded tile; there are some.
void AttendRow(const PrefillTile& tile, int32_t row, VisibleTokens seen, PrefillScratch& scratch) {
  const int32_t head_dim = tile.params->kv.head_dim;
  const bfloat16* q = scratch.q + row * head_dim;
  float* acc = scratch.acc + row * head_dim;
  float scores[kKeyTile] = {};
  for (int32_t d = 0; d < head_dim; ++d) {
    const float x = ToFloat(q[d]) * tile.params->softmax_scale;
    const float* k = scratch.key_floats + d * kKeyTile;
    for (int32_t t = seen.begin; t < seen.end; ++t) scores[t] += x * k[t];
  }
  const float old_max = scratch.max[row];
  const float max = std::max(old_max, *std::max_element(scores + seen.begin, scores + seen.end));
  const float scale = std::exp(old_max - max);
  float sum = scratch.sum[row * 16] * scale;
  for (int32_t d = 0; d < head_dim; ++d) acc[d] *= scale;
  for (int32_t t = seen.begin; t < seen.end; ++t) {
    const float weight = std::exp(scores[t] - max);
    sum += weight;
    const float* v = scratch.value_floats + t * head_dim;
    for (int32_t d = 0; d < head_dim; ++d) acc[d] += weight * v[d];
  }
  scratch.max[row] = max;
  scratch.sum[row * 16] = sum;
}

}  // namespace

void AttendPrefillTilePortable(const PrefillTile& tile, PrefillScratch& scratch) {
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
    std::copy_n(p.q + offset_of(row), head_dim, scratch.q + row * head_dim);
    scratch.max[row] = std::numeric_limits<float>::lowest();
    scratch.sum[row * 16] = 0;
  }
  std::fill_n(scratch.acc, rows * head_dim, 0.0f);

  const int32_t end = tile.first_position + tile.num_tokens;
  for (int32_t start = FirstKeyTile(tile); start < end; start += kKeyTile) {
    const int32_t count = std::min(kKeyTile, end - start);
    LoadKeyTile(tile, start, count, scratch);
    for (int32_t row = 0; row < rows; ++row) {
      const VisibleTokens seen =
          VisibleInTile(tile, tile.first_position + row / group, start, count);
      if (seen.begin < seen.end) AttendRow(tile, row, seen, scratch);
    }
  }

  for (int32_t row = 0; row < rows; ++row) {
    const float* acc = scratch.acc + row * head_dim;
    for (int32_t d = 0; d < head_dim; ++d) {
      const float x = acc[d] / scratch.sum[row * 16];
      if (p.out_type == DType::kBF16) {
        static_cast<bfloat16*>(p.out)[offset_of(row) + d] = ToBFloat16(x);
      } else {
        static_cast<float*>(p.out)[offset_of(row) + d] = x;
      }
    }
  }
}

}  // namespace tidal::cpu
