#include "kernels/reference/attention_prefill.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tidal::reference {
namespace {

// Attention of one query of one head to the tokens [begin, end) of sequence `s`.
void AttendRow(const PrefillAttentionParams& p, int32_t s, int32_t kv_head, int32_t begin,
               int32_t end, const bfloat16* q, double* out) {
  const PagedKvCache& kv = p.kv;
  const int32_t* blocks = p.tables.blocks + int64_t{p.tables.sequence_slots[s]} * p.tables.stride;
  const auto row = [&](int32_t t) {
    return ((int64_t{blocks[t / kv.block_size]} * kv.num_kv_heads + kv_head) * kv.block_size +
            t % kv.block_size) *
           kv.head_dim;
  };
  std::vector<double> scores(end - begin);
  double max = -std::numeric_limits<double>::infinity();
  for (int32_t t = begin; t < end; ++t) {
    double dot = 0;
    for (int32_t d = 0; d < kv.head_dim; ++d)
      dot += double{ToFloat(q[d])} * ToFloat(kv.k[row(t) + d]);
    scores[t - begin] = dot * p.softmax_scale;
    max = std::max(max, scores[t - begin]);
  }
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - max);
  for (int32_t t = begin; t < end; ++t) {
    for (int32_t d = 0; d < kv.head_dim; ++d) {
      out[d] += scores[t - begin] / sum * ToFloat(kv.v[row(t) + d]);
    }
  }
}

}  // namespace

std::vector<double> PrefillAttention(const PrefillAttentionParams& p) {
  const int32_t group = p.num_heads / p.kv.num_kv_heads;
  std::vector<double> out(int64_t{p.cu_query_lens[p.num_sequences]} * p.num_heads * p.kv.head_dim);
  for (int32_t s = 0; s < p.num_sequences; ++s) {
    const int32_t end = p.cu_query_lens[s + 1];
    for (int32_t i = p.cu_query_lens[s]; i < end; ++i) {
      const int32_t tokens = p.tables.context_lens[s] - (end - 1 - i);
      const int32_t begin = p.window > 0 ? std::max(0, tokens - p.window) : 0;
      for (int32_t h = 0; h < p.num_heads; ++h) {
        const int64_t offset = (int64_t{i} * p.num_heads + h) * p.kv.head_dim;
        AttendRow(p, s, h / group, begin, tokens, p.q + offset, out.data() + offset);
      }
    }
  }
  return out;
}

}  // namespace tidal::reference
