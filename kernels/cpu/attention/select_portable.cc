// Ranking and top-k in plain C++.
#include <algorithm>
#include <limits>

#include "kernels/cpu/attention/attention_kernels.h"
#include "kernels/cpu/attention/select_tokens.h"

namespace tidal::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void RankSums(const float* weights, const float* factors, int32_t num_heads, int32_t tokens,
              uint32_t* keys) {
  for (int t = 0; t < tokens; ++t) {
    float sum = 0;
    for (int h = 0; h < num_heads; ++h) sum += factors[h] * weights[h * kWeightStride + t];
    keys[t] = RankKey(sum);
  }
}

void RankMaxima(const float* logits, int32_t num_heads, int32_t tokens, uint32_t* keys) {
  for (int t = 0; t < tokens; ++t) {
    float largest = -kInfinity;
    for (int h = 0; h < num_heads; ++h) largest = std::max(largest, logits[h * kWeightStride + t]);
    keys[t] = RankKey(largest);
  }
}

void CountAtLeast(const uint32_t* keys, int32_t count, const uint32_t* thresholds,
                  int32_t* counts) {
  const uint32_t a = thresholds[0], b = thresholds[1], c = thresholds[2];
  int32_t na = 0, nb = 0, nc = 0;
  for (int i = 0; i < count; ++i) {
    na += keys[i] >= a;
    nb += keys[i] >= b;
    nc += keys[i] >= c;
  }
  counts[0] = na;
  counts[1] = nb;
  counts[2] = nc;
}

KeyPartition Partition(const uint32_t* keys, int32_t count, uint32_t low, uint32_t high,
                       uint32_t* candidates) {
  KeyPartition result{0, 0};
  for (int i = 0; i < count; ++i) {
    result.above += keys[i] > high;
    candidates[result.candidates] = keys[i];  // kept only if the next line counts it
    result.candidates += keys[i] >= low && keys[i] <= high;
  }
  return result;
}

int32_t Emit(const uint32_t* keys, int32_t count, uint32_t threshold, int32_t ties, int32_t first,
             int32_t* positions) {
  int32_t written = 0;
  for (int i = 0; i < count; ++i) {
    if (keys[i] < threshold) continue;
    if (keys[i] == threshold && ties-- <= 0) continue;
    positions[written++] = first + i;
  }
  return written;
}

}  // namespace

const SelectKernels kPortableSelectKernels = {RankSums, RankMaxima, CountAtLeast, Partition, Emit};

}  // namespace tidal::cpu
