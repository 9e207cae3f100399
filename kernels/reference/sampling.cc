#include "kernels/reference/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace tidal::reference {
namespace {

std::vector<double> RawLogits(const SamplingParamsView& p, int32_t row) {
  std::vector<double> logits(p.logits + int64_t{row} * p.vocab,
                             p.logits + int64_t{row + 1} * p.vocab);
  for (double& x : logits) {
    if (std::isnan(x)) x = -std::numeric_limits<double>::infinity();
  }
  return logits;
}

void ApplyBiasAndPenalties(const SamplingParamsView& p, const SamplingRow& r,
                           std::vector<double>& logits) {
  for (int32_t i = r.bias_begin; i < r.bias_end; ++i) {
    logits[p.biases[i].token] += p.biases[i].bias;
  }
  for (int32_t i = r.penalty_begin; i < r.penalty_end; ++i) {
    double& x = logits[p.penalties[i].token];
    const int32_t count = p.penalties[i].output_count;
    x = x > 0 ? x / r.repetition_penalty : x * r.repetition_penalty;
    x -= double{r.frequency_penalty} * count;
    if (count > 0) x -= r.presence_penalty;
  }
}

}  // namespace

std::vector<double> SamplingDistribution(const SamplingParamsView& p, int32_t row) {
  const SamplingRow& r = p.rows[row];
  std::vector<double> probs = RawLogits(p, row);
  ApplyBiasAndPenalties(p, r, probs);
  const auto best = std::max_element(probs.begin(), probs.end());
  if (r.temperature == 0) {
    const int64_t greedy = best - probs.begin();
    std::fill(probs.begin(), probs.end(), 0.0);
    probs[greedy] = 1;
    return probs;
  }
  const double max = *best;
  for (double& x : probs) x = std::exp((x - max) / r.temperature);
  for (double& x : probs) {
    if (x < r.min_p) x = 0;
  }
  std::vector<int32_t> order(p.vocab);  // falling, ties by id
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return probs[a] > probs[b]; });
  for (int32_t i = 0; i < p.vocab; ++i) {
    if (r.top_k > 0 && i >= r.top_k) probs[order[i]] = 0;
  }
  const double total = std::accumulate(probs.begin(), probs.end(), 0.0);
  double before = 0;
  for (int32_t id : order) {
    const double x = probs[id];
    if (before > 0 && before >= r.top_p * total) probs[id] = 0;
    before += x;
  }
  const double kept = std::accumulate(probs.begin(), probs.end(), 0.0);
  for (double& x : probs) x /= kept;
  return probs;
}

std::vector<double> LogProbabilities(const SamplingParamsView& p, int32_t row) {
  std::vector<double> logits(p.logits + int64_t{row} * p.vocab,
                             p.logits + int64_t{row + 1} * p.vocab);
  const double max = *std::max_element(logits.begin(), logits.end());
  const bool has_nan =
      std::any_of(logits.begin(), logits.end(), [](double x) { return std::isnan(x); });
  if (has_nan || !std::isfinite(max)) {
    return std::vector<double>(p.vocab, std::numeric_limits<double>::quiet_NaN());
  }
  double sum = 0;
  for (double x : logits) sum += std::exp(x - max);
  for (double& x : logits) x -= max + std::log(sum);
  return logits;
}

}  // namespace tidal::reference
