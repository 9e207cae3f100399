// How kernels are launched: with programmatic dependent launch, so that a kernel's blocks come
// while the one before it, and even the one before that, are at work (sm_90; elsewhere an ordinary
// launch). They fetch what does not change meanwhile, weights above all, and so the memory is never
// idle between two kernels.
//
// Every kernel launched here calls WaitForPreviousKernel() before it touches memory that an earlier
// kernel writes or reads: then all kernels before it have ended. What was written before a launch
// that was made full (DeviceContext::next_launch_is_full) can be read without waiting. It may call
// LetNextKernelStart() at any time; when all its blocks have, those of the next are let in.
#ifndef TIDAL_KERNELS_CUDA_LAUNCH_CUH_
#define TIDAL_KERNELS_CUDA_LAUNCH_CUH_

#include <cuda_runtime.h>

#include <cstddef>
#include <utility>

#include "kernels/cuda/device_context.h"

namespace tidal::cuda {

__device__ inline void WaitForPreviousKernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

__device__ inline void LetNextKernelStart() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes = 0;
  unsigned cluster_size = 1;      // blocks along x of a cluster
  cudaStream_t stream = nullptr;  // null: the context's
};

// A grid of no blocks is not launched. A failure is remembered under `operation`.
template <typename... Params, typename... Args>
void Launch(DeviceContext& context, const char* operation, void (*kernel)(Params...),
            const LaunchShape& shape, Args&&... args) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  cudaLaunchAttribute attributes[2] = {};
  unsigned count = 0;
  const bool on_side_stream = shape.stream != nullptr && shape.stream != context.stream;
  const bool is_full = !on_side_stream && std::exchange(context.next_launch_is_full, false);
  if (context.compute_capability >= 90 && !is_full) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (shape.cluster_size > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim = {shape.cluster_size, 1, 1};
    ++count;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = shape.stream != nullptr ? shape.stream : context.stream;
  config.attrs = attributes;
  config.numAttrs = count;
  context.Check(cudaLaunchKernelEx(&config, kernel, Params(std::forward<Args>(args))...),
                operation);
}

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_LAUNCH_CUH_
