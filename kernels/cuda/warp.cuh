// What all lanes of a warp do together.
#ifndef TIDAL_KERNELS_CUDA_WARP_CUH_
#define TIDAL_KERNELS_CUDA_WARP_CUH_

#include <cstdint>

namespace tidal::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

// The sum of x over the lanes up to this one, which is `lane`.
template <typename T>
__device__ inline T InclusiveWarpSum(T x, int lane) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const T below = __shfl_up_sync(kAllLanes, x, distance);
    if (lane >= distance) x += below;
  }
  return x;
}

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_WARP_CUH_
