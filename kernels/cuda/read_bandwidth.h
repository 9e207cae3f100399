// How fast the card reads its memory: the denominator of every bound we report.
#ifndef TIDAL_KERNELS_CUDA_READ_BANDWIDTH_H_
#define TIDAL_KERNELS_CUDA_READ_BANDWIDTH_H_

#include "kernels/cuda/device_context.h"

namespace tidal::cuda {

// Bytes per second of a plain read over a buffer far larger than the L2 cache; the best of several
// passes. 0 when the buffer cannot be had.
double MeasureReadBandwidth(DeviceContext& context);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_READ_BANDWIDTH_H_
