// Which tokens of a context a row attends to (TidalDecode, arXiv 2410.05076, section 3).
#ifndef TIDAL_KERNELS_CPU_ATTENTION_SELECT_TOKENS_H_
#define TIDAL_KERNELS_CPU_ATTENTION_SELECT_TOKENS_H_

#include <bit>
#include <cstdint>

#include "kernels/cpu/attention/attention_kernels.h"

namespace tidal::cpu {

// Unsigned integers in the order of the scores: a < b exactly when RankKey(a) < RankKey(b), and
// equal scores (the two zeros too) have equal keys. NaN ranks lowest, level with -infinity.
inline uint32_t RankKey(float score) {
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 becomes +0
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x007fffffu;   // the key of -infinity
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// The score of a key; -infinity for that of NaN.
inline float ScoreOfKey(uint32_t key) {
  return std::bit_cast<float>(key >> 31 ? key & 0x7fffffffu : ~key);
}

// One set of one row. Fields as in SelectTokensParams and TokenSelection.
struct SelectTask {
  const uint32_t* keys;   // [context_len] by position; not read when everything is selected
  const int32_t* blocks;  // the row's block table
  int32_t block_size;     // a power of two
  int32_t context_len;    // >= 1
  int32_t token_budget;   // >= 1
  int32_t sinks, recency;
  int32_t* positions;  // [min(token_budget, context_len)] out
  int32_t* slots;      // the same number, out
};

// The positions [begin, end) that are ranked against each other, and how many of them are chosen.
// Everything before and after them is forced.
struct RankedRange {
  int32_t begin, end;
  int32_t wanted;  // 0 .. end - begin
};
RankedRange RankedRangeOf(const SelectTask& task);

// Writes, ascending, first + i for the `wanted` best of `count` keys (all, when there are fewer);
// returns how many. Equal keys: the lower i. `scratch` has room for count + 16 keys.
int32_t ChooseBest(const SelectKernels& kernels, const uint32_t* keys, int32_t count,
                   int32_t wanted, int32_t first, uint32_t* scratch, int32_t* positions);

// Completes a set whose range.wanted ranked positions are at task.positions + range.begin: adds the
// forced ones and resolves the slots.
void FinishSelection(const SelectTask& task, const RankedRange& range);

// All of the above: one set by one thread.
void SelectTokens(const SelectTask& task, const SelectKernels& kernels, uint32_t* scratch);

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_ATTENTION_SELECT_TOKENS_H_
