// What a selecting layer's attention leaves behind for the selection after it, and by which rules.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_SELECTION_SCORES_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_SELECTION_SCORES_H_

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/attention/params.h"
#include "kernels/cuda/attention/select_range.cuh"

namespace tidal::cuda {

// Of the rows with a token budget only. Rows lie one after the other in every plane: token t of row
// r is element row_begins[r] + t (DecodeRows). The distance of planes is a multiple of
// kScoreAlignment.
//
// Logits are kept in 16 bits, within half a unit in 2^11: finer than q and k in bf16 determine
// them, and half the traffic. They live from the pass that reads K until they are pooled into keys
// (score_pooling.cuh), within the same kernel.
struct SelectionScores {
  __half* logits;                // [H, head_stride]: q.k * softmax_scale * log2(e), finite or NaN
  uint32_t* keys;                // [sets, head_stride]: order as the pooled scores do
  int64_t head_stride;           // elements from one plane to the next
  const int32_t* row_begins;     // [rows], of the rows planned last
  const int32_t* scoring_order;  // [rows]; made by PlanDecode
  // [rows]: splits of all KV heads whose logits are there. Zero between two operations: the
  // selection clears what the pass counted.
  int32_t* splits_scored;
};

// Which tokens compete, and how heads are pooled.
struct SelectionRule {
  const int32_t* context_lens;   // [rows]
  const int32_t* token_budgets;  // [rows]
  const int32_t* recency;        // [rows]
  int32_t sinks;
  int32_t sets;   // a row
  int32_t heads;  // a set
  bool softmax_sum;

  __device__ SelectRange Range(int32_t row) const {
    return MakeSelectRange(context_lens[row], token_budgets[row], recency[row], sinks);
  }
};

// Aborts unless num_heads is a multiple of the KV heads.
SelectionRule MakeSelectionRule(const PagedDecodeParams& rows, const SelectTokensParams& select);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_SELECTION_SCORES_H_
