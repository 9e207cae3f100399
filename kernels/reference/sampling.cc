#include "kernels/reference/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace tidal::reference {
namespace {

std::vector<double> RawLogits(const SampleParams& p, int32_t row) {
  std::vector<double> logits(p.logits + int64_t{row} * p.vocab,
                             p.logits + int64_t{row + 1} * p.vocab);
  for (double& x : logits) {
    if (std::isnan(x)) x = -std::numeric_limits<double>::infinity();
  }
  return logits;
}

void ApplyBiasAndPenalties(const SampleParams& p, int32_t row, const SamplingSettings& settings,
                           std::vector<double>& logits) {
  const int64_t slot = p.sequence_slots[row];
  const TokenBias* biases = p.slots.biases + slot * p.slots.max_biases;
  for (int32_t i = 0; i < settings.BiasesAfter(p.generated[row]); ++i) {
    logits[biases[i].token] += biases[i].bias;
  }
  if (!settings.has_penalties()) return;
  for (int32_t id = 0; id < p.vocab; ++id) {
    TokenCount count = p.slots.counts[slot * p.vocab + id];
    for (int32_t i = 0; i < p.drafts.NumBefore(row); ++i) {
      if (p.drafts.Before(row)[i] == id) count = count.AfterOutput();
    }
    double& x = logits[id];
    if (count.occurred()) {
      x = x > 0 ? x / settings.repetition_penalty : x * settings.repetition_penalty;
    }
    x -= double{settings.frequency_penalty} * count.outputs();
    if (count.outputs() > 0) x -= settings.presence_penalty;
  }
}

void ApplyMask(const uint32_t* mask, std::vector<double>& logits) {
  for (size_t id = 0; mask != nullptr && id < logits.size(); ++id) {
    const bool allowed = mask[id / 32] >> (id % 32) & 1;
    if (!allowed) logits[id] = -std::numeric_limits<double>::infinity();
  }
}

}  // namespace

std::vector<double> SamplingDistribution(const SampleParams& p, int32_t row) {
  const SamplingSettings& r = p.slots.settings[p.sequence_slots[row]];
  std::vector<double> probs = RawLogits(p, row);
  ApplyBiasAndPenalties(p, row, r, probs);
  ApplyMask(p.masks.Of(row, p.vocab), probs);
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

std::vector<double> LogProbabilities(const SampleParams& p, int32_t row) {
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
