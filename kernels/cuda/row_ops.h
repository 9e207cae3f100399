// The operations of a layer that work row by row: bound by the bytes they move. Enqueued on the
// context's stream. Parameters: kernels/layer_params.h.
#ifndef TIDAL_KERNELS_CUDA_ROW_OPS_H_
#define TIDAL_KERNELS_CUDA_ROW_OPS_H_

#include <cstdint>

#include "kernels/cuda/device_context.h"
#include "kernels/layer_params.h"

namespace tidal::cuda {

void Embedding(const EmbeddingParams& params, DeviceContext& context);
// params.updates is aligned to 8 bytes.
void UpdateTables(const UpdateTablesParams& params, DeviceContext& context);
void RmsNorm(const RmsNormParams& params, DeviceContext& context);
void RopeStoreKv(const RopeStoreKvParams& params, DeviceContext& context);
void SwiGlu(const SwiGluParams& params, DeviceContext& context);
void GatherRows(const GatherRowsParams& params, DeviceContext& context);

// Normal numbers of the given deviation; a pure function of (seed, index).
void FillRandom(bfloat16* dst, int64_t count, uint64_t seed, float deviation,
                DeviceContext& context);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ROW_OPS_H_
