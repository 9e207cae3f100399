#include "kernels/reference/attention_decode.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace tidal::reference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// First element of the row of cache slot `slot` and KV head `kv`.
int64_t RowOffset(const PagedKvCache& cache, int64_t slot, int32_t kv) {
  const int64_t block = slot / cache.block_size;
  const int64_t row = slot % cache.block_size;
  return ((block * cache.num_kv_heads + kv) * cache.block_size + row) * cache.head_dim;
}

// The slots of the tokens that row `row` sees.
std::vector<int64_t> ContextSlots(const PagedKvCache& cache, const BlockTables& tables, int32_t row,
                                  int32_t window) {
  std::vector<int64_t> slots;
  for (int64_t t = 0; t < tables.context_lens[row]; ++t) {
    if (window > 0 && t <= tables.context_lens[row] - 1 - window) continue;
    const int64_t block =
        tables.blocks[int64_t{tables.sequence_slots[row]} * tables.stride + t / cache.block_size];
    slots.push_back(block * cache.block_size + t % cache.block_size);
  }
  return slots;
}

// q [D] times the K rows at `slots` of KV head `kv`.
std::vector<double> Logits(const bfloat16* q, const PagedKvCache& cache,
                           const std::vector<int64_t>& slots, int32_t kv) {
  std::vector<double> logits;
  logits.reserve(slots.size());
  for (int64_t slot : slots) {
    const bfloat16* k = cache.k + RowOffset(cache, slot, kv);
    double sum = 0;
    for (int32_t d = 0; d < cache.head_dim; ++d) sum += double{ToFloat(q[d])} * ToFloat(k[d]);
    logits.push_back(sum);
  }
  return logits;
}

std::vector<double> Softmax(std::vector<double> logits, double scale) {
  double max = -kInfinity;
  for (double& x : logits) {
    x *= scale;
    max = std::max(max, x);
  }
  double sum = 0;
  for (double& x : logits) {
    x = std::exp(x - max);
    sum += x;
  }
  for (double& x : logits) x /= sum;
  return logits;
}

// out [D] of one query head.
void Attend(const bfloat16* q, const PagedKvCache& cache, const std::vector<int64_t>& slots,
            int32_t kv, double scale, double* out) {
  const std::vector<double> weights = Softmax(Logits(q, cache, slots, kv), scale);
  for (int64_t t = 0; t < slots.size(); ++t) {
    const bfloat16* v = cache.v + RowOffset(cache, slots[t], kv);
    for (int32_t d = 0; d < cache.head_dim; ++d) out[d] += weights[t] * ToFloat(v[d]);
  }
}

}  // namespace

std::vector<double> PagedDecode(const PagedDecodeParams& params) {
  const int32_t dim = params.kv.head_dim;
  const int32_t group = params.num_heads / params.kv.num_kv_heads;
  std::vector<double> out(int64_t{params.rows} * params.num_heads * dim);
  for (int32_t row = 0; row < params.rows; ++row) {
    const std::vector<int64_t> slots = ContextSlots(params.kv, params.tables, row, params.window);
    for (int32_t h = 0; h < params.num_heads; ++h) {
      const int64_t at = (int64_t{row} * params.num_heads + h) * dim;
      Attend(params.q + at, params.kv, slots, h / group, params.softmax_scale, &out[at]);
    }
  }
  return out;
}

std::vector<double> SparseDecode(const SparseDecodeParams& params) {
  const int32_t dim = params.kv.head_dim;
  const int32_t group = params.num_heads / params.kv.num_kv_heads;
  const TokenSelection& selection = params.selection;
  const bool shared = selection.granularity == SelectionGranularity::kShared;
  const int32_t sets = shared ? 1 : params.kv.num_kv_heads;
  std::vector<double> out(int64_t{params.rows} * params.num_heads * dim);
  for (int32_t row = 0; row < params.rows; ++row) {
    for (int32_t h = 0; h < params.num_heads; ++h) {
      const int32_t set = shared ? 0 : h / group;
      const int32_t* first = selection.slots + selection.SetBegin(row, set);
      const std::vector<int64_t> slots(first, first + selection.counts[int64_t{row} * sets + set]);
      const int64_t at = (int64_t{row} * params.num_heads + h) * dim;
      Attend(params.q + at, params.kv, slots, h / group, params.softmax_scale, &out[at]);
    }
  }
  return out;
}

std::vector<std::vector<double>> SelectionScores(const PagedDecodeParams& params,
                                                 SelectionGranularity granularity,
                                                 SelectionScore score, int32_t row) {
  const int32_t sets = granularity == SelectionGranularity::kShared ? 1 : params.kv.num_kv_heads;
  const int32_t group = params.num_heads / params.kv.num_kv_heads;
  const std::vector<int64_t> slots = ContextSlots(params.kv, params.tables, row, /*window=*/0);
  const bool sum = score == SelectionScore::kSoftmaxSum;
  std::vector<std::vector<double>> scores(
      sets, std::vector<double>(slots.size(), sum ? 0.0 : -kInfinity));
  for (int32_t h = 0; h < params.num_heads; ++h) {
    const bfloat16* q = params.q + (int64_t{row} * params.num_heads + h) * params.kv.head_dim;
    std::vector<double> logits = Logits(q, params.kv, slots, h / group);
    const std::vector<double> values = sum ? Softmax(logits, params.softmax_scale) : logits;
    std::vector<double>& set = scores[h / (params.num_heads / sets)];
    for (int64_t t = 0; t < slots.size(); ++t) {
      set[t] = sum ? set[t] + values[t] : std::max(set[t], values[t]);
    }
  }
  return scores;
}

std::vector<int32_t> SelectTokens(const std::vector<double>& scores, int32_t token_budget,
                                  int32_t sinks, int32_t recency) {
  const int32_t length = static_cast<int32_t>(scores.size());
  std::vector<int32_t> order(length);  // best first
  std::iota(order.begin(), order.end(), 0);
  // 0 current, 1 recent, 2 sink, 3 by score.
  const auto rank = [&](int32_t t) {
    if (t == length - 1) return 0;
    if (t >= length - 1 - recency) return 1;
    return t < sinks ? 2 : 3;
  };
  const auto score = [&](int32_t t) { return std::isnan(scores[t]) ? -kInfinity : scores[t]; };
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    if (rank(a) != rank(b)) return rank(a) < rank(b);
    if (rank(a) == 1) return a > b;  // the newest first
    if (rank(a) == 3 && score(a) != score(b)) return score(a) > score(b);
    return a < b;
  });
  order.resize(std::min(token_budget, length));
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace tidal::reference
