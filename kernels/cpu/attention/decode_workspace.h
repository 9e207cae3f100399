// What DecodeWorkspace holds. A group is the rows computed together: their splits, one row's after
// the other's, are numbered through, and every array below is indexed by that number.
#ifndef TIDAL_KERNELS_CPU_ATTENTION_DECODE_WORKSPACE_H_
#define TIDAL_KERNELS_CPU_ATTENTION_DECODE_WORKSPACE_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "kernels/cpu/aligned_memory.h"
#include "kernels/cpu/attention/paged_decode.h"

namespace tidal::cpu {

inline int32_t CeilDiv(int32_t a, int32_t b) { return (a + b - 1) / b; }

inline int32_t NumSets(const TokenSelection& selection, int32_t num_kv_heads) {
  return selection.granularity == SelectionGranularity::kShared ? 1 : num_kv_heads;
}

// Rows [begin, end) of a call, computed together.
struct RowGroup {
  int32_t begin, end;
  int32_t num_splits;
};

// Symbols as in kernels/attention/params.h; T = kSplitTokens, W = kWeightStride, N = max_splits.
struct DecodeWorkspace::Buffers {
  int32_t max_splits = 0;  // of a group; at least those of the longest row
  int32_t max_rows = 0;
  int32_t max_context_len = 0;
  int64_t score_stride = 0;  // of the selecting rows of a step: ScoreStride()

  AlignedArray<float> acc;                // [N, H, D]
  AlignedArray<float> max, sum, factors;  // [N, H]
  AlignedArray<float> weights;            // [N, H, W], when the weights outlive their split
  AlignedArray<float> max_logits;         // [N, KV, W]
  AlignedArray<float> worker_weights;     // [threads, H, W], when they do not
  AlignedArray<float> worker_row;         // [threads, D]
  AlignedArray<uint32_t> worker_keys;     // [threads, max_context_len + 16]

  AlignedArray<int32_t> split_row;                     // [N] row of each split
  AlignedArray<int32_t> first_split;                   // [max_rows + 1] of each row of the group
  std::unique_ptr<std::atomic<int32_t>[]> unfinished;  // [max_decode_rows, KV] work items left

  // Of a step, from scoring to selecting; rows begin where DecodeRows says.
  AlignedArray<uint32_t> keys;       // [KV, score_stride], then those of candidates
  AlignedArray<int32_t> candidates;  // [KV, score_stride] their positions
  AlignedArray<int32_t>
      candidate_counts;  // [KV, score_stride / kScoreAlignment], at a part's start
};

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_ATTENTION_DECODE_WORKSPACE_H_
