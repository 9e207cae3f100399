// How kernels are launched: with programmatic dependent launch (launch.cuh says what that asks of
// them), under a name, and with a mark to leave.
#ifndef TIDAL_KERNELS_CUDA_LAUNCH_H_
#define TIDAL_KERNELS_CUDA_LAUNCH_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <utility>

#include "kernels/cuda/device_context.h"
#include "kernels/cuda/launch_trail.h"

namespace tidal::cuda {

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes = 0;
  unsigned cluster_size = 1;      // blocks along x of a cluster
  cudaStream_t stream = nullptr;  // null: the context's
};

// A grid of no blocks is not launched. A failure is remembered under `operation`, a literal.
template <typename... Params, typename... Args>
void Launch(DeviceContext& context, const char* operation, void (*kernel)(LaunchMark, Params...),
            const LaunchShape& shape, Args&&... args) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  context.MakeCurrent();
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
  const LaunchMark mark = context.trail.Next(operation, on_side_stream);
  context.Check(cudaLaunchKernelEx(&config, kernel, mark, Params(std::forward<Args>(args))...),
                operation);
}

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_LAUNCH_H_
