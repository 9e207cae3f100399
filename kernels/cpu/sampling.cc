#include "kernels/cpu/sampling.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/cpu/logprobs.h"

namespace tidal::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kMinTemperature = 1e-5f;  // below it, greedy: vLLM's bound

// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection that mixes all bits.
uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// A row, and what its slot holds.
struct SampledRow {
  const SamplingSettings& settings;
  const TokenBias* biases;
  const TokenCount* counts;  // [vocab]
  int32_t generated;
  const int32_t* draft;  // [draft_size], tokens before this one that are not counted
  int32_t draft_size;

  SampledRow(const SampleParams& p, int32_t row)
      : settings(p.slots.settings[p.sequence_slots[row]]),
        biases(p.slots.biases + int64_t{p.sequence_slots[row]} * p.slots.max_biases),
        counts(p.slots.counts + int64_t{p.sequence_slots[row]} * p.vocab),
        generated(p.generated[row]),
        draft(p.drafts.Before(row)),
        draft_size(p.drafts.NumBefore(row)) {}

  TokenCount CountOf(int32_t token) const {
    TokenCount count = counts[token];
    for (int32_t i = 0; i < draft_size; ++i) {
      if (draft[i] == token) count = count.AfterOutput();
    }
    return count;
  }
};

// Adds biases and penalties to the logits; remembers the values it replaces, oldest first.
void ApplyBiasAndPenalties(const SampledRow& row, int32_t vocab, float* logits,
                           std::vector<std::pair<int32_t, float>>& raw_logits) {
  raw_logits.clear();
  const SamplingSettings& settings = row.settings;
  for (int32_t i = 0; i < settings.BiasesAfter(row.generated); ++i) {
    const TokenBias& bias = row.biases[i];
    raw_logits.emplace_back(bias.token, logits[bias.token]);
    logits[bias.token] += bias.bias;
  }
  if (!settings.has_penalties()) return;
  for (int32_t id = 0; id < vocab; ++id) {
    const TokenCount count = row.CountOf(id);
    if (!count.occurred()) continue;
    float& logit = logits[id];
    raw_logits.emplace_back(id, logit);
    if (std::isinf(logit)) continue;
    logit = logit > 0 ? logit / settings.repetition_penalty : logit * settings.repetition_penalty;
    logit -= settings.frequency_penalty * static_cast<float>(count.outputs());
    if (count.outputs() > 0) logit -= settings.presence_penalty;
  }
}

// Leaves only the tokens that the mask allows.
void ApplyMask(const uint32_t* mask, int32_t vocab, float* logits) {
  for (int32_t word = 0; word < TokenMasks::NumWords(vocab); ++word) {
    const int32_t begin = 32 * word, size = std::min(vocab - begin, 32);
    if (mask[word] == 0) {
      std::fill_n(logits + begin, size, -kInfinity);
      continue;
    }
    uint32_t forbidden = ~mask[word];
    if (size < 32) forbidden &= (1u << size) - 1;
    for (; forbidden != 0; forbidden &= forbidden - 1) {
      logits[begin + std::countr_zero(forbidden)] = -kInfinity;
    }
  }
}

// Where no logit of an allowed token is a number.
int32_t FirstAllowed(const uint32_t* mask, int32_t vocab) {
  for (int32_t word = 0; word < TokenMasks::NumWords(vocab); ++word) {
    if (mask[word] != 0) return std::min(32 * word + std::countr_zero(mask[word]), vocab - 1);
  }
  return 0;
}

// Orders candidates by falling weight, ties to the lower id.
struct Heavier {
  const float* weights;
  bool operator()(int32_t a, int32_t b) const {
    return weights[a] != weights[b] ? weights[a] > weights[b] : a < b;
  }
};

// The number of leading ids of `ids`, sorted as far as needed, whose weights reach share * total.
int32_t SortTopP(std::vector<int32_t>& ids, const float* weights, double target) {
  const Heavier heavier{weights};
  double sum = 0;
  size_t sorted = 0;
  for (size_t chunk = 64; sorted < ids.size(); chunk *= 4) {
    const size_t end = std::min(ids.size(), sorted + chunk);
    std::partial_sort(ids.begin() + sorted, ids.begin() + end, ids.end(), heavier);
    for (; sorted < end; ++sorted) {
      sum += weights[ids[sorted]];
      if (sum >= target) return static_cast<int32_t>(sorted + 1);
    }
  }
  return static_cast<int32_t>(ids.size());
}

// Cuts `scratch.ids` down to what min-p, top-k and top-p leave. The largest weight is 1.
void Truncate(const SamplingSettings& settings, int32_t vocab, SamplingScratch& scratch) {
  std::vector<int32_t>& ids = scratch.ids;
  const float* weights = scratch.weights.data();
  ids.clear();
  for (int32_t id = 0; id < vocab; ++id) {
    if (weights[id] > 0 && weights[id] >= settings.min_p) ids.push_back(id);
  }
  if (settings.top_k > 0 && settings.top_k < static_cast<int32_t>(ids.size())) {
    std::nth_element(ids.begin(), ids.begin() + (settings.top_k - 1), ids.end(), Heavier{weights});
    ids.resize(settings.top_k);
  }
  if (settings.top_p < 1.0f) {
    double total = 0;
    for (int32_t id : ids) total += weights[id];
    ids.resize(SortTopP(ids, weights, settings.top_p * total));
  }
  // One order whatever the algorithms above left, so that equal settings draw equal tokens.
  std::sort(ids.begin(), ids.end());
}

// Draws from the tempered and truncated distribution. max is finite.
int32_t Draw(const SampledRow& row, const float* logits, int32_t vocab, float max,
             const RowKernels& kernels, SamplingScratch& scratch) {
  const SamplingSettings& settings = row.settings;
  scratch.weights.resize(vocab);
  double total =
      kernels.sum_exp(logits, vocab, max, 1.0f / settings.temperature, scratch.weights.data());
  const float* weights = scratch.weights.data();
  const double uniform = UniformDraw(settings.seed, row.generated);
  double sum = 0;
  if (settings.min_p <= 0 && settings.top_k <= 0 && settings.top_p >= 1) {
    int32_t last = 0;  // with a weight at all: where rounding lets the sum miss its target
    for (int32_t id = 0; id < vocab; ++id) {
      sum += weights[id];
      if (sum > uniform * total) return id;
      if (weights[id] > 0) last = id;
    }
    return last;
  }
  Truncate(settings, vocab, scratch);
  total = 0;
  for (int32_t id : scratch.ids) total += weights[id];
  for (int32_t id : scratch.ids) {
    sum += weights[id];
    if (sum > uniform * total) return id;
  }
  return scratch.ids.back();
}

// Of the raw logits: the likeliest tokens, or those that the slot names.
void WriteAlternatives(const SampleParams& p, int32_t row, const SamplingSettings& settings,
                       const float* logits, float log_sum) {
  const int64_t top = int64_t{row} * p.max_logprobs;
  const TopLogprobs out = {p.top_ids + top, p.top_logprobs + top, p.max_logprobs};
  if (settings.num_logprob_ids == 0) {
    WriteTopLogprobs(logits, p.vocab, log_sum, settings.num_logprobs, out);
    return;
  }
  WriteGivenLogprobs(logits, log_sum, p.slots.LogprobIdsOf(p.sequence_slots[row]),
                     settings.num_logprob_ids, out);
}

void SampleRow(const SampleParams& p, int32_t row_index, const RowKernels& kernels,
               SamplingScratch& scratch) {
  const SampledRow row(p, row_index);
  float* logits = p.logits + int64_t{row_index} * p.vocab;
  const float log_sum = LogSum(logits, p.vocab, kernels);
  WriteAlternatives(p, row_index, row.settings, logits, log_sum);
  ApplyBiasAndPenalties(row, p.vocab, logits, scratch.raw_logits);
  const uint32_t* const mask = p.masks.Of(row_index, p.vocab);
  if (mask != nullptr) ApplyMask(mask, p.vocab, logits);

  // Not looked at: an infinity and its ban make a NaN, of a corrupt row or below all finite logits.
  bool had_nan = false;
  const float max = kernels.clean_max(logits, p.vocab, &had_nan);
  int32_t token = static_cast<int32_t>(std::find(logits, logits + p.vocab, max) - logits);
  if (row.settings.temperature >= kMinTemperature && std::isfinite(max)) {
    token = Draw(row, logits, p.vocab, max, kernels, scratch);
  } else if (mask != nullptr && max == -kInfinity) {
    token = FirstAllowed(mask, p.vocab);
  }
  float raw = logits[token];
  for (const auto& [id, value] : scratch.raw_logits) {
    if (id != token) continue;
    raw = value;
    break;
  }
  p.token_ids[row_index] = token;
  p.logprobs[row_index] = raw - log_sum;
  if (p.drafts.IsOneOfSeveral(row_index)) return;
  p.slots.TakeOver(p.sequence_slots[row_index], token, p.vocab);
}

}  // namespace

double UniformDraw(uint64_t seed, uint64_t generated) {
  constexpr uint64_t kGoldenGamma = 0x9e3779b97f4a7c15u;
  const uint64_t bits = Mix(Mix(seed + kGoldenGamma) + (generated + 1) * kGoldenGamma);
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

void Sample(const SampleParams& params, const RowKernels& kernels, ThreadPool& pool,
            std::vector<SamplingScratch>& scratch) {
  pool.ParallelFor(params.num_rows, [&](int32_t row, int worker) {
    SampleRow(params, row, kernels, scratch[worker]);
  });
}

void AcceptDrafts(const SampleParams& params) {
  for (int32_t row = 0; row < params.num_rows; ++row) params.AcceptDraft(row);
}

void CountTokens(const CountTokensParams& p) {
  std::fill_n(p.counts, p.vocab, TokenCount{});
  for (int32_t i = 0; i < p.num_tokens; ++i) {
    TokenCount& count = p.counts[p.tokens[i]];
    count = i < p.num_prompt_tokens ? count.AfterPrompt() : count.AfterOutput();
  }
}

}  // namespace tidal::cpu
