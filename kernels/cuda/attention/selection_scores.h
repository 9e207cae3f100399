// What a selecting layer's attention leaves behind for the selection after it.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_SELECTION_SCORES_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_SELECTION_SCORES_H_

#include <cuda_fp16.h>

#include <cstdint>

namespace tidal::cuda {

// Of the sparse rows only. Rows lie one after the other in every head's plane: token t of row r is
// element row_offsets[r] + t. Row offsets are multiples of 16.
//
// Logits are kept in 16 bits, within half a unit in 2^11: finer than q and k in bf16 determine them,
// and half the traffic of the only large thing that selection writes and reads.
struct SelectionScores {
  __half* logits;       // [H, head_stride]: q.k * softmax_scale * log2(e), finite or NaN
  int64_t head_stride;  // elements from one head's plane to the next
  float* log_sum_exp;          // [rows, H]: log2 of the sum over the context of 2^logit
  const int64_t* row_offsets;  // [rows]; made by PlanDecode
  uint32_t* keys;              // [sets, head_stride]: scratch of SelectTokens
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_SELECTION_SCORES_H_
