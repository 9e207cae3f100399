// The inputs of the operations between ranks, which compute one model together, each on its own
// device. Same conventions as kernels/layer_params.h.
//
// All ranks call them in the same order with the same shapes. Sums are made in the order of the
// ranks, whatever the shape, so that all ranks hold the same bits and a row's result does not
// depend on its batch.
#ifndef TIDAL_KERNELS_RANK_PARAMS_H_
#define TIDAL_KERNELS_RANK_PARAMS_H_

#include <cstdint>

#include "kernels/types.h"

namespace tidal {

// residual += the sum of the ranks' partial; out = residual / rms(residual) * weight: what RmsNorm
// does after a product whose inputs the ranks share out.
struct ReduceNormParams {
  const float* partial;    // [tokens, hidden], this rank's; on CUDA rounded to 15 bits
  float* residual;         // [tokens, hidden], the same on all ranks
  const bfloat16* weight;  // [hidden]
  void* out;               // [tokens, hidden] of out_type
  DType out_type;
  int32_t tokens, hidden;
  float epsilon;
};

// Rows of which each rank has computed some columns: those of all, in the order of the ranks.
struct GatherColumnsParams {
  const float* part;  // [rows, part_columns], this rank's; as wide on all of them
  float* out;         // [rows, columns]; the last rank's part may reach beyond
  int32_t rows, part_columns, columns;
};

// Ranks that select for the same heads: consecutive ones.
struct RankSpan {
  int32_t first, count;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_RANK_PARAMS_H_
