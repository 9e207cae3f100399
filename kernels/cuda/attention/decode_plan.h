// The work lists of decode attention: which (row, KV head, split) are computed, in which order.
// How rows are cut depends on the batch, and so do a row's last bits; equal batches give equal
// bits, and a selection of n tokens is cut like a context of n tokens.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_PLAN_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_PLAN_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/attention/params.h"
#include "kernels/cuda/attention/decode_cut.h"
#include "kernels/cuda/attention/decode_items.h"
#include "kernels/cuda/device_context.h"

namespace tidal::cuda::decode {

static_assert(kMaxSplitTokens <= 0xffff);  // as items keep it

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
  int32_t index;  // in the list
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

struct ItemList {
  DecodeItem* items;
  int32_t* count;
  RowItems* rows;  // [rows]
};

struct PlanArgs {
  DecodeRows rows;
  SplitRule rule;
  int32_t window;     // of the layers that have one, or 0
  ItemList dense;     // every row over its context
  ItemList windowed;  // over the last `window` tokens of it; not written without a window
  ItemList scoring;   // the same, in splits of up to kMaxScoredSplitTokens where logits are kept
  ItemList reuse;     // sparse rows over min(token budget, context) tokens, the others as above
  int32_t* scoring_order;  // [rows], longest first, as in the list
};

// Enqueues the kernel that writes all of these.
void Plan(const PlanArgs& args, DeviceContext& context);

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_PLAN_H_
