// Copies of a few kilobytes between pinned host memory and the device.
#ifndef TIDAL_KERNELS_CUDA_SMALL_COPY_H_
#define TIDAL_KERNELS_CUDA_SMALL_COPY_H_

#include <cstddef>

#include "kernels/cuda/device_context.h"

namespace tidal::cuda {

// Whether SmallCopy() is the faster way: up to 64 KB, in whole words of 4 bytes.
bool IsSmallCopy(const void* dst, const void* src, size_t bytes);

// Enqueues, in either direction; `operation` names it in an error. By a kernel that reaches over
// the bus itself: to hand the stream to a copy engine and back costs some 10 us each way while the
// device has work, which a decode step would pay several times.
void SmallCopy(void* dst, const void* src, size_t bytes, const char* operation,
               DeviceContext& context);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_SMALL_COPY_H_
