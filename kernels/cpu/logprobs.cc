#include "kernels/cpu/logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tidal::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// 1 + the tokens that come before this one, best first, ties to the lower id.
int32_t RankOf(int32_t token, const float* logits, int32_t vocab) {
  const float logit = logits[token];
  int32_t rank = 1;
  for (int32_t id = 0; id < token; ++id) rank += logits[id] >= logit;
  for (int32_t id = token + 1; id < vocab; ++id) rank += logits[id] > logit;
  return rank;
}

}  // namespace

float LogSum(float* logits, int32_t vocab, const RowKernels& kernels) {
  bool corrupt = false;
  const float max = kernels.clean_max(logits, vocab, &corrupt);
  if (corrupt || !std::isfinite(max)) return std::numeric_limits<float>::quiet_NaN();
  return max + static_cast<float>(std::log(kernels.sum_exp(logits, vocab, max, 1.0f, nullptr)));
}

void WriteTopLogprobs(const float* logits, int32_t vocab, float log_sum, int32_t wanted,
                      const TopLogprobs& out) {
  int32_t* const ids = out.ids;
  float* const values = out.values;
  wanted = std::min({wanted, out.size, vocab});
  int32_t held = 0;
  for (int32_t id = 0; wanted > 0 && id < vocab; ++id) {
    const float x = logits[id];
    if (held == wanted && !(x > values[held - 1])) continue;
    int32_t place = held == wanted ? held - 1 : held++;
    for (; place > 0 && x > values[place - 1]; --place) {
      values[place] = values[place - 1];
      ids[place] = ids[place - 1];
    }
    values[place] = x;
    ids[place] = id;
  }
  for (int32_t i = 0; i < held; ++i) values[i] -= log_sum;
  std::fill(ids + held, ids + out.size, -1);
  std::fill(values + held, values + out.size, -kInfinity);
}

void WriteGivenLogprobs(const float* logits, float log_sum, const int32_t* tokens, int32_t count,
                        const TopLogprobs& out) {
  std::copy_n(tokens, count, out.ids);
  std::sort(out.ids, out.ids + count, [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  for (int32_t i = 0; i < count; ++i) out.values[i] = logits[out.ids[i]] - log_sum;
  std::fill(out.ids + count, out.ids + out.size, -1);
  std::fill(out.values + count, out.values + out.size, -kInfinity);
}

void TokenLogprobs(const TokenLogprobsParams& p, const RowKernels& kernels, ThreadPool& pool) {
  pool.ParallelFor(p.num_rows, [&](int32_t row, int /*worker*/) {
    float* const logits = p.logits + int64_t{row} * p.vocab;
    const int64_t top = int64_t{row} * p.max_logprobs;
    const int32_t token = p.token_ids[row];
    const float log_sum = LogSum(logits, p.vocab, kernels);
    WriteTopLogprobs(logits, p.vocab, log_sum, p.max_logprobs,
                     {p.top_ids + top, p.top_logprobs + top, p.max_logprobs});
    p.logprobs[row] = logits[token] - log_sum;
    p.ranks[row] = RankOf(token, logits, p.vocab);
  });
}

}  // namespace tidal::cpu
