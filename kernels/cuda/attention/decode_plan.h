// The work lists of decode attention: which (row, KV head, split) are computed, in which order.
// How rows are cut depends on the batch, and so do a row's last bits; equal batches give equal bits,
// and a selection of n tokens is cut like a context of n tokens.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_PLAN_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_PLAN_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/attention/decode_cut.h"
#include "kernels/cuda/device_context.h"

namespace tidal::cuda::decode {

// One (row, KV head, split). No tokens: no item.
struct DecodeItem {
  static constexpr int32_t kMaxRows = 1 << 20, kMaxKvHeads = 1 << 11;

  int4 words = {0, 0, 0, 0};

  __host__ __device__ static DecodeItem Make(int32_t row, int32_t kv_head, int32_t result,
                                             int32_t begin, int32_t tokens, bool sparse,
                                             int32_t num_splits) {
    return {{static_cast<int32_t>(row | static_cast<uint32_t>(kv_head) << 20 |
                                  uint32_t{sparse} << 31),
             result, begin,
             static_cast<int32_t>(tokens | static_cast<uint32_t>(num_splits) << 16)}};
  }
  __host__ __device__ int32_t row() const { return words.x & (kMaxRows - 1); }
  __host__ __device__ int32_t kv_head() const { return words.x >> 20 & (kMaxKvHeads - 1); }
  __host__ __device__ bool sparse() const { return words.x < 0; }  // the row has a token budget
  // Where its partial results lie: those of a row lie together, split s of KV head h at
  // RowItems::first + s * KV + h.
  __host__ __device__ int32_t result() const { return words.y; }
  // First token of the split, among the tokens of the context or of the selection. A multiple
  // of 16.
  __host__ __device__ int32_t begin() const { return words.z & ~15; }
  // So many of its first tokens do not count: a window begins where it wants to.
  __host__ __device__ int32_t hidden() const { return words.z & 15; }
  __host__ __device__ void Hide(int32_t tokens) { words.z |= tokens; }
  __host__ __device__ int32_t tokens() const { return words.w & 0xffff; }
  __host__ __device__ int32_t num_splits() const { return static_cast<uint32_t>(words.w) >> 16; }
};
static_assert(kMaxSplitTokens <= 0xffff);

// Where a row's partial results lie, and how many splits it has.
struct RowItems {
  int32_t first, num_splits;
  bool sparse;  // the row has a token budget
};

// Splits of rows, run by run (SplitRun): of the rows that come first, or of all.
struct SplitCounts {
  int32_t runs[RowCut::kRuns] = {};

  __host__ __device__ void Add(const RowCut& cut) {
    for (int run = 0; run < RowCut::kRuns; ++run) runs[run] += cut.runs[run].splits;
  }
  __host__ __device__ int32_t Sum() const {
    int32_t sum = 0;
    for (int32_t splits : runs) sum += splits;
    return sum;
  }
};

// Where an item stands and what it is.
struct PlacedItem {
  int32_t index;          // in the list
  int32_t kv_head, split;
  int32_t begin, tokens;  // in the row
};

// Item `number` of a row, counted in the order of its results. The order of a list is: the first
// runs of all rows, longest rows first, then the first parts of their tails, and so on; in a run
// row by row, in a row split by split, in a split KV head by KV head, as neighbours lie in the
// cache. `before`: of the rows that come first, `all`: of all rows.
__host__ __device__ inline PlacedItem PlaceItem(const RowCut& cut, const SplitCounts& before,
                                                const SplitCounts& all, int32_t kv_heads,
                                                int32_t number) {
  const int32_t split = number / kv_heads;
  const int32_t kv_head = number - split * kv_heads;
  PlacedItem item = {};
  int32_t splits_through = 0, listed = 0;
  for (const SplitRun& run : cut.runs) {
    const auto r = static_cast<int>(&run - cut.runs);
    const int32_t in_run = split - splits_through;
    if (in_run >= 0 && in_run < run.splits) {
      const int32_t begin = run.begin + in_run * run.tokens;
      item = {(listed + before.runs[r] + in_run) * kv_heads + kv_head, kv_head, split, begin,
              run.end - begin < run.tokens ? run.end - begin : run.tokens};
    }
    splits_through += run.splits;
    listed += all.runs[r];
  }
  return item;
}

// How the items of a list are dealt to the blocks of a grid. A block's first items are fixed, so
// that starting costs nothing; each further one belongs to a number that the block draws from a
// counter. Every block draws until it has drawn one without an item, so there are `items - blocks`
// draws if there are any, and whoever has the last of them sets the counter back to zero.
struct Deal {
  int32_t items, blocks;

  static constexpr int32_t kFixed = 2;  // items of a block

  // In the list, of the block's fixed item `number`.
  __host__ __device__ int32_t FixedIndex(int32_t block, int32_t number) const {
    return block + number * blocks;
  }
  __host__ __device__ int32_t DrawnIndex(int32_t drawn) const { return kFixed * blocks + drawn; }
  __host__ __device__ bool IsLastDraw(int32_t drawn) const {
    return drawn == items - (kFixed - 1) * blocks - 1;
  }
  // Whether it is known without drawing that the block has no item `number`. Otherwise it has one
  // or, if the number is not fixed, draws for it.
  __host__ __device__ bool HasNone(int32_t block, int32_t number) const {
    return (number < kFixed ? FixedIndex(block, number) : DrawnIndex(0)) >= items;
  }
};

struct ItemList {
  DecodeItem* items;
  int32_t* count;
  RowItems* rows;  // [rows]
};

struct PlanArgs {
  const int32_t* context_lens;   // [rows]
  const int32_t* token_budgets;  // [rows]
  int32_t rows;
  SplitRule rule;
  int32_t window;     // of the layers that have one, or 0
  ItemList dense;     // every row over its context
  ItemList windowed;  // over the last `window` tokens of it; not written without a window
  ItemList scoring;   // the same, in splits of up to kMaxScoredSplitTokens where logits are kept
  ItemList reuse;     // sparse rows over min(token budget, context) tokens, the others as above
  int32_t* scoring_order;  // [rows], longest first, as in the list
  int64_t* row_offsets;    // [rows], of SelectionScores
};

// Enqueues the kernel that writes all of these.
void Plan(const PlanArgs& args, DeviceContext& context);

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_PLAN_H_
