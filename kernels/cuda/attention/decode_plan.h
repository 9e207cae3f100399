// The work lists of decode attention: which (row, KV head, split) are computed, in which order.
//
// A split is a run of a row's tokens. How long it is depends on how much there is to read in all:
// long splits cost least, but every block of the device wants one, and none wants twice another's.
// So a row's last bits depend on the batch it stands in; equal batches give equal bits, and a
// selection of n tokens is cut like a context of n tokens.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_PLAN_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_PLAN_H_

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/device_context.h"

namespace tidal::cuda::decode {

inline constexpr int32_t kMaxSplitTokens = 32768;
// Of rows whose logits are kept: so short that the device works on one long row, or a few rows, at
// a time, and their logits are pooled before they leave the L2 cache.
inline constexpr int32_t kMaxScoredSplitTokens = 4096;

// The splits of one row: all of `tokens` tokens, a multiple of 16, but the last, which may be
// shorter.
struct RowCut {
  int32_t num_splits = 0, tokens = 0;
};

// How rows are cut. Every block of the device gets `rounds` splits if all are equally long.
struct SplitRule {
  int32_t blocks;  // that the device runs at a time
  int32_t num_kv_heads;

  static constexpr int32_t kMaxRounds = 8;
  // What a split costs beside its tokens, in tokens: its end, and its partial results.
  static constexpr int32_t kSplitCost = 64;

  // The most tokens of a split. A block in 33 may go without one: row lengths are often powers of
  // two, and numbers of blocks just above one.
  __host__ __device__ int32_t Share(int64_t all_tokens, int32_t rounds) const {
    const int64_t slots = int64_t{blocks} * rounds * 32 / 33;
    const int64_t share = (all_tokens * num_kv_heads + slots - 1) / slots;
    return share < kMaxSplitTokens ? static_cast<int32_t>(share) : kMaxSplitTokens;
  }
  __host__ __device__ RowCut Cut(int32_t row_tokens, int32_t share) const {
    if (row_tokens == 0) return {};
    const int32_t least = LeastTokens(row_tokens);
    const int32_t splits = DivideUp(row_tokens, share < least ? least : share);
    const int32_t tokens = DivideUp(DivideUp(row_tokens, splits), 16) * 16;
    return {DivideUp(row_tokens, tokens), tokens};
  }
  // Work items of up to `rows` rows of up to `max_tokens` tokens, of which `scored_tokens` are in
  // rows whose logits are kept: at most.
  int64_t MaxItems(int64_t rows, int32_t max_tokens, int64_t scored_tokens) const {
    const int64_t pairs = rows * num_kv_heads;
    return std::min(pairs * DivideUp(max_tokens, LeastTokens(0)),
                    pairs * DivideUp(max_tokens, kMaxSplitTokens) + int64_t{blocks} * kMaxRounds +
                        scored_tokens * num_kv_heads / kMaxScoredSplitTokens);
  }

 private:
  // Of a split that is not alone. With few KV heads there are few splits, and shorter ones pay.
  __host__ __device__ int32_t LeastTokens(int32_t row_tokens) const {
    if (num_kv_heads < 8) return 64;
    const int32_t eighth = DivideUp(row_tokens, 8);
    return eighth < 128 ? 128 : eighth < 256 ? eighth : 256;
  }
  __host__ __device__ static int32_t DivideUp(int32_t a, int32_t b) { return (a + b - 1) / b; }
};

// One (row, KV head, split). The items of a row lie together: split s of KV head h is item
// first + s * KV + h. No tokens: no item.
struct DecodeItem {
  int4 words = {0, 0, 0, 0};

  __device__ static DecodeItem Make(int32_t row, int32_t kv_head, int32_t split, int32_t begin,
                                    int32_t tokens, bool sparse, int32_t num_splits) {
    return {{row,
             static_cast<int32_t>(kv_head | uint32_t{sparse} << 15 |
                                  static_cast<uint32_t>(split) << 16),
             begin, static_cast<int32_t>(tokens | static_cast<uint32_t>(num_splits) << 16)}};
  }
  __device__ int32_t row() const { return words.x; }
  __device__ int32_t kv_head() const { return words.y & 0x7fff; }
  __device__ int32_t split() const { return static_cast<uint32_t>(words.y) >> 16; }
  // First token of the split, among the tokens of the context or of the selection. A multiple
  // of 16.
  __device__ int32_t begin() const { return words.z & ~15; }
  // So many of its first tokens do not count: a window begins where it wants to.
  __device__ int32_t hidden() const { return words.z & 15; }
  __device__ void Hide(int32_t tokens) { words.z |= tokens; }
  __device__ int32_t tokens() const { return words.w & 0xffff; }
  __device__ bool sparse() const { return (words.y & 0x8000) != 0; }  // the row has a token budget
  __device__ int32_t num_splits() const { return static_cast<uint32_t>(words.w) >> 16; }
};
static_assert(kMaxSplitTokens <= 0xffff);

// Where a row's items lie in the list.
struct RowItems {
  int32_t first, num_splits;
  bool sparse;  // the row has a token budget
};

struct ItemList {
  DecodeItem* items;  // longest rows first
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
  int32_t* scoring_order;  // [rows], in the order of the list
  int64_t* row_offsets;    // [rows], of SelectionScores
};

// Enqueues the kernel that writes all of these.
void Plan(const PlanArgs& args, DeviceContext& context);

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_PLAN_H_
