// Copies a sequence's K and V out of the pages of a cache.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_GATHER_CONTEXT_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_GATHER_CONTEXT_H_

#include <cstdint>

#include "kernels/attention/params.h"
#include "kernels/cuda/device_context.h"

namespace tidal::cuda {

struct GatheredContext {
  bfloat16* k;  // [KV, capacity, D]: the context's rows, zeros behind them
  bfloat16* v;
  int32_t capacity;  // tokens
};

// Enqueues the copy of one sequence's context. The 256 rows behind it are zeroed: whoever reads
// whole tiles multiplies what lies there by zero. Nothing is copied for a sequence without queries.
void GatherContext(const PrefillAttentionParams& params, int32_t sequence,
                   const GatheredContext& to, DeviceContext& context);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_GATHER_CONTEXT_H_
