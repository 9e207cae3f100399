// The work lists of decode attention: which (row, KV head, split) are computed, in which order.
//
// A split is a run of a row's tokens. Its length depends on the number of tokens and of KV heads
// only, so a row's sums are added in the same order whatever else the batch holds, and a selection
// of n tokens is cut like a context of n tokens.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_PLAN_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_PLAN_H_

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/device_context.h"

namespace tidal::cuda::decode {

inline constexpr int32_t kMaxSplitTokens = 16384;

// How rows are cut: a short row into 8 splits, a long one into more, none of them short: a split's
// end costs a few trips to memory. A function of the model only.
struct SplitRule {
  int32_t long_row_splits;           // that a long row is cut into
  int32_t least_tokens;              // of a split, while there are fewer than 8
  int32_t least_tokens_of_long_row;  // of a split, while there are fewer than long_row_splits

  // Tokens of every split but a row's last: a multiple of 16, at most kMaxSplitTokens.
  __host__ __device__ int32_t SplitTokens(int32_t tokens) const {
    const int32_t eighth = RoundUp(tokens, 8), even = RoundUp(tokens, long_row_splits);
    int32_t split = eighth < least_tokens_of_long_row ? eighth : least_tokens_of_long_row;
    if (split < least_tokens) split = least_tokens;
    if (split < even) split = even;
    return split < kMaxSplitTokens ? split : kMaxSplitTokens;
  }
  __host__ __device__ int32_t NumSplits(int32_t tokens) const {
    const int32_t split = SplitTokens(tokens);
    return (tokens + split - 1) / split;
  }
  // The most splits that a row of up to `max_tokens` tokens has.
  int32_t MaxSplits(int32_t max_tokens) const {
    return std::max(std::min((max_tokens + least_tokens - 1) / least_tokens, long_row_splits),
                    (max_tokens + kMaxSplitTokens - 1) / kMaxSplitTokens);
  }

 private:
  __host__ __device__ static int32_t RoundUp(int32_t tokens, int32_t splits) {
    return ((tokens + splits - 1) / splits + 15) / 16 * 16;
  }
};

// One long row alone gives every SM of a large GPU two splits. With few KV heads there are few of
// them, and shorter ones pay.
constexpr SplitRule SplitRuleFor(int32_t num_kv_heads) {
  const int32_t splits = std::clamp((264 + num_kv_heads - 1) / num_kv_heads, 8, 64);
  if (num_kv_heads < 8) return {splits, 64, 64};
  return {splits, 128, 256};
}

// One (row, KV head, split). The items of a row lie together: split s of KV head h is item
// first + s * KV + h. No tokens: no item.
struct DecodeItem {
  int4 words = {0, 0, 0, 0};

  __device__ static DecodeItem Make(int32_t row, int32_t kv_head, int32_t split, int32_t begin,
                                    int32_t tokens, bool sparse, int32_t num_splits) {
    return {{row, kv_head | split << 16, begin,
             static_cast<int32_t>(tokens | uint32_t{sparse} << 15 |
                                  static_cast<uint32_t>(num_splits) << 16)}};
  }
  __device__ int32_t row() const { return words.x; }
  __device__ int32_t kv_head() const { return words.y & 0xffff; }
  __device__ int32_t split() const { return static_cast<uint32_t>(words.y) >> 16; }
  // First token of the split, among the tokens of the context or of the selection. A multiple
  // of 16.
  __device__ int32_t begin() const { return words.z; }
  __device__ int32_t tokens() const { return words.w & 0x7fff; }
  __device__ bool sparse() const { return (words.w & 0x8000) != 0; }  // the row has a token budget
  __device__ int32_t num_splits() const { return static_cast<uint32_t>(words.w) >> 16; }
};
static_assert(kMaxSplitTokens < 0x8000);

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
  int32_t num_kv_heads;
  SplitRule rule;
  ItemList dense;        // every row over its context
  ItemList reuse;        // sparse rows over min(token budget, context) tokens, the others as above
  int64_t* row_offsets;  // [rows], of SelectionScores
};

// Enqueues the kernel that writes both lists and the row offsets.
void Plan(const PlanArgs& args, DeviceContext& context);

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_PLAN_H_
