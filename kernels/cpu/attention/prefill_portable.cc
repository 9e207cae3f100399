#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/attention/prefill.h"

namespace tidal::cpu {
namespace {

// One query row of one head: an online softmax over its tokens in order.
void AttendRow(const PrefillAttentionParams& p, const bfloat16* q, const int32_t* blocks,
               int32_t kv_head, int32_t tokens, float* acc) {
  const int32_t head_dim = p.kv.head_dim;
  const int32_t block_size = p.kv.block_size;
  std::fill(acc, acc + head_dim, 0.0f);
  float max = -std::numeric_limits<float>::infinity();
  float sum = 0;
  for (int32_t t = 0; t < tokens; ++t) {
    const int64_t row =
        (int64_t{blocks[t / block_size]} * p.kv.num_kv_heads + kv_head) * block_size +
        t % block_size;
    const bfloat16* k = p.kv.k + row * head_dim;
    const bfloat16* v = p.kv.v + row * head_dim;
    float dot = 0;
    for (int32_t d = 0; d < head_dim; ++d) dot += ToFloat(q[d]) * ToFloat(k[d]);
    dot *= p.softmax_scale;
    if (dot > max) {
      const float scale = std::exp(max - dot);
      max = dot;
      sum *= scale;
      for (int32_t d = 0; d < head_dim; ++d) acc[d] *= scale;
    }
    const float weight = std::exp(dot - max);
    sum += weight;
    for (int32_t d = 0; d < head_dim; ++d) acc[d] += weight * ToFloat(v[d]);
  }
  for (int32_t d = 0; d < head_dim; ++d) acc[d] /= sum;
}

void StoreRow(const float* acc, int32_t count, DType type, void* out, int64_t offset) {
  for (int32_t d = 0; d < count; ++d) {
    if (type == DType::kBF16) {
      static_cast<bfloat16*>(out)[offset + d] = ToBFloat16(acc[d]);
    } else {
      static_cast<float*>(out)[offset + d] = acc[d];
    }
  }
}

}  // namespace

void PrefillAttentionPortable(const PrefillAttentionParams& p, ThreadPool& pool) {
  const int32_t head_dim = p.kv.head_dim;
  const int32_t group = p.num_heads / p.kv.num_kv_heads;
  for (int32_t s = 0; s < p.num_sequences; ++s) {
    const int32_t begin = p.cu_query_lens[s];
    const int32_t query_len = p.cu_query_lens[s + 1] - begin;
    const int32_t first_position = p.tables.context_lens[s] - query_len;
    const int32_t* blocks = p.tables.blocks + int64_t{s} * p.tables.stride;
    pool.ParallelFor(query_len * p.num_heads, [&](int32_t task, int /*worker*/) {
      const int32_t i = query_len - 1 - task / p.num_heads;  // the longest rows first
      const int32_t head = task % p.num_heads;
      float acc[256];
      const int64_t offset = (int64_t{begin + i} * p.num_heads + head) * head_dim;
      AttendRow(p, p.q + offset, blocks, head / group, first_position + i + 1, acc);
      StoreRow(acc, head_dim, p.out_type, p.out, offset);
    });
  }
}

}  // namespace tidal::cpu
