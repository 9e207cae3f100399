// Blocks that work together: a cluster on sm_90, one block elsewhere.
#ifndef TIDAL_KERNELS_CUDA_BLOCK_CLUSTER_CUH_
#define TIDAL_KERNELS_CUDA_BLOCK_CLUSTER_CUH_

#include <cooperative_groups.h>
#include <cuda_runtime.h>

namespace tidal::cuda {

// 2^n of them.
class BlockCluster {
 public:
  __device__ BlockCluster() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    const auto cluster = cooperative_groups::this_cluster();
    rank_ = static_cast<int>(cluster.block_rank());
    size_ = static_cast<int>(cluster.num_blocks());
#endif
  }

  __device__ int rank() const { return rank_; }
  __device__ int size() const { return size_; }

  // __syncthreads() of all the blocks.
  __device__ void Sync() const {
    if (size_ == 1) {
      __syncthreads();
    } else {
      Arrive();
      Wait();
    }
  }
  // The halves of Sync(); of a single block they do nothing.
  __device__ void Arrive() const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (size_ > 1) cooperative_groups::this_cluster().barrier_arrive();
#endif
  }
  __device__ void Wait() const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (size_ > 1) cooperative_groups::this_cluster().barrier_wait();
#endif
  }

  // size() = 2^this.
  __device__ int log2_size() const { return 31 - __clz(size_); }

  // The same variable in the shared memory of block `rank`.
  template <typename T>
  __device__ T* Of(T* shared, int rank) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (size_ > 1) return cooperative_groups::this_cluster().map_shared_rank(shared, rank);
#endif
    return shared;
  }

 private:
  int rank_ = 0, size_ = 1;
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_BLOCK_CLUSTER_CUH_
