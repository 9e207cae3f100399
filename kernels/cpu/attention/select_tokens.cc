#include "kernels/cpu/attention/select_tokens.h"

#include <algorithm>

namespace tidal::cpu {
namespace {

constexpr int kSampleSize = 512;
constexpr int kMinSampled = 4 * kSampleSize;  // below, every key is looked at in every pass

// The `rank`-th largest of the keys (1 = the largest), known to lie in [low, high]. Fixes two bits
// a pass. *above becomes the number of keys greater than it.
uint32_t RankedKey(const SelectKernels& kernels, const uint32_t* keys, int32_t count, int32_t rank,
                   uint32_t low, uint32_t high, int32_t* above) {
  // Invariant: at least `rank` keys >= low, fewer than `rank` keys > high.
  while (low < high) {
    const uint32_t span = high - low;
    const uint32_t quarter = span / 4 + 1;
    uint32_t thresholds[3];
    for (uint32_t i = 0; i < 3; ++i) thresholds[i] = low + std::min(span, (i + 1) * quarter);
    int32_t counts[3];
    kernels.count_at_least(keys, count, thresholds, counts);
    int part = 0;
    while (part < 3 && counts[part] >= rank) ++part;
    if (part < 3) high = thresholds[part] - 1;
    if (part > 0) low = thresholds[part - 1];
  }
  const uint32_t thresholds[3] = {low, low, low == UINT32_MAX ? low : low + 1};
  int32_t counts[3];
  kernels.count_at_least(keys, count, thresholds, counts);
  *above = low == UINT32_MAX ? 0 : counts[2];
  return low;
}

// The same over all of the keys. Long arrays: the ranks around `rank` in a regular sample bracket
// the answer; one pass drops the keys outside, and a bracket that missed is not used.
uint32_t Threshold(const SelectKernels& kernels, const uint32_t* keys, int32_t count, int32_t rank,
                   uint32_t* scratch, int32_t* above) {
  if (count >= kMinSampled) {
    uint32_t sample[kSampleSize];
    // The sampled places drift through the blocks: scores repeat with the text, not with a block.
    for (int i = 0; i < kSampleSize; ++i) sample[i] = keys[int64_t{count} * i / kSampleSize];
    const int middle = static_cast<int>(int64_t{rank} * kSampleSize / count);
    constexpr int kMargin = 24;
    int32_t ignored;
    uint32_t low = 0, high = UINT32_MAX;
    if (middle + kMargin <= kSampleSize) {
      low = RankedKey(kernels, sample, kSampleSize, middle + kMargin, 0, UINT32_MAX, &ignored);
    }
    if (middle - kMargin >= 1) {
      high = RankedKey(kernels, sample, kSampleSize, middle - kMargin, 0, UINT32_MAX, &ignored);
    }
    const KeyPartition part = kernels.partition(keys, count, low, high, scratch);
    if (part.above < rank && rank <= part.above + part.candidates) {
      const uint32_t key =
          RankedKey(kernels, scratch, part.candidates, rank - part.above, low, high, above);
      *above += part.above;
      return key;
    }
  }
  return RankedKey(kernels, keys, count, rank, 0, UINT32_MAX, above);
}

void Fill(int32_t first, int32_t count, int32_t* positions) {
  for (int32_t i = 0; i < count; ++i) positions[i] = first + i;
}

}  // namespace

RankedRange RankedRangeOf(const SelectTask& task) {
  const int32_t current = task.context_len - 1;
  const int32_t count = std::min(task.token_budget, task.context_len);
  // Forced members, in their order of precedence: current, recent, sinks.
  const int32_t recent = std::min({task.recency, current, count - 1});
  const int32_t sinks = std::min({task.sinks, current - recent, count - 1 - recent});
  return {sinks, current - recent, count - 1 - recent - sinks};
}

int32_t ChooseBest(const SelectKernels& kernels, const uint32_t* keys, int32_t count,
                   int32_t wanted, int32_t first, uint32_t* scratch, int32_t* positions) {
  if (wanted >= count) {
    Fill(first, count, positions);
    return count;
  }
  if (wanted == 0) return 0;
  int32_t above;
  const uint32_t threshold = Threshold(kernels, keys, count, wanted, scratch, &above);
  return kernels.emit(keys, count, threshold, wanted - above, first, positions);
}

void FinishSelection(const SelectTask& task, const RankedRange& range) {
  const int32_t recent = task.context_len - range.end;  // the current token included
  Fill(0, range.begin, task.positions);
  Fill(range.end, recent, task.positions + range.begin + range.wanted);

  const int32_t count = range.begin + range.wanted + recent;
  const int shift = std::countr_zero(static_cast<uint32_t>(task.block_size));
  for (int32_t i = 0; i < count; ++i) {
    const int32_t position = task.positions[i];
    task.slots[i] = (task.blocks[position >> shift] << shift) + (position & (task.block_size - 1));
  }
}

void SelectTokens(const SelectTask& task, const SelectKernels& kernels, uint32_t* scratch) {
  const RankedRange range = RankedRangeOf(task);
  ChooseBest(kernels, task.keys + range.begin, range.end - range.begin, range.wanted, range.begin,
             scratch, task.positions + range.begin);
  FinishSelection(task, range);
}

}  // namespace tidal::cpu
