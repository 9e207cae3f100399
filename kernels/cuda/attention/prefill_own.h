// Our own prefill attention, for every shape: FlashAttention-2's order of work (Dao, 2023) on the
// tensor cores of sm_80 and later.
//
// The query heads of a KV head are packed: a block's rows are (token, head of the group) pairs of
// one KV head, so that K and V tiles serve the whole group and a short chunk still fills a tile.
// Key tiles begin at fixed positions of the context and every row meets its tiles in order: a row's
// result does not depend, to the bit, on how its prompt was cut into chunks.
//
// Bound: 4 D operations a pair of query row and key it sees.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_OWN_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_OWN_H_

#include "kernels/attention/params.h"
#include "kernels/cuda/device_context.h"

namespace tidal::cuda {

// Once before the first call below: lets the kernels use more shared memory. Failures go to the
// context.
void PrepareOwnPrefill(DeviceContext& context);

// Enqueues on the context's stream. Needs no scratch memory. Aborts on a head_dim that is not a
// multiple of 16 or above 256, and on a block_size other than 16, 32 and 64.
void OwnPrefillAttention(const PrefillAttentionParams& params, DeviceContext& context);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_OWN_H_
