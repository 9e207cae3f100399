// From the pooled scores of a selecting layer to token sets: finds the exact k-th score by radix,
// and writes positions and slots in ascending order.
//
// Equal scores give equal sets, whatever else is in the batch. Bound: every key is read once.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_SELECT_TOKENS_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_SELECT_TOKENS_H_

#include <cuda_runtime.h>

#include "kernels/attention/params.h"
#include "kernels/cuda/attention/selection_scores.h"
#include "kernels/cuda/device_context.h"

namespace tidal::cuda {

// Enqueues on `stream`, which may be the context's side stream. `rows`, tables and heads are those
// of the decode operation that wrote the scores; rows whose budget or context length is 0 are left
// alone. Of rows.kv only the shape is read. Aborts unless the block size is a power of two and
// num_heads a multiple of the KV heads.
void SelectTokens(const PagedDecodeParams& rows, const SelectTokensParams& select,
                  const SelectionScores& scores, cudaStream_t stream, DeviceContext& context);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_SELECT_TOKENS_H_
