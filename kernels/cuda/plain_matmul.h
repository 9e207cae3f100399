// Matrix products of any shape, slowly: for what the fast kernels' alignment rules exclude, which
// is only tiny models.
#ifndef TIDAL_KERNELS_CUDA_PLAIN_MATMUL_H_
#define TIDAL_KERNELS_CUDA_PLAIN_MATMUL_H_

#include "kernels/cuda/device_context.h"
#include "kernels/cuda/matmul_product.h"

namespace tidal::cuda {

void PlainMatMul(const MatMulProduct& product, DeviceContext& context);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_PLAIN_MATMUL_H_
