// A barrier in shared memory (mbarrier) at which some warps arrive and others wait: unlike at
// __syncthreads(), those that arrive go on at once.
//
// Source: PTX ISA, "mbarrier".
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_PHASE_BARRIER_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_PHASE_BARRIER_CUH_

#include <cstdint>

#include "kernels/cuda/warp.cuh"

namespace tidal::cuda {

// Phases are counted from 0. What the arriving warps wrote to shared memory before is seen by the
// warps that have waited.
class PhaseBarrier {
 public:
  // By one thread, before a __syncthreads(). A phase ends when `warps` warps have arrived.
  __device__ void Init(int warps) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(Address()), "r"(warps * 32)
                 : "memory");
  }
  // By all lanes of a warp.
  __device__ void Arrive() {
    asm volatile(
        "{\n.reg .b64 state;\n"
        "mbarrier.arrive.shared::cta.b64 state, [%0];\n}\n" ::"r"(Address())
        : "memory");
  }
  // By all lanes of a warp, which get one answer: has phase `phase` ended, which is the one under
  // way or the one before it? Lanes need not ask at the same moment, so each on its own could get
  // another answer, and what they do next together would never end.
  __device__ bool HasEndedForWarp(int phase) const {
    return __all_sync(kAllLanes, HasEnded(phase));
  }
  __device__ void Wait(int phase) const {
    while (!HasEnded(phase)) {
    }
  }

 private:
  __device__ bool HasEnded(int phase) const {
    uint32_t ended;
    asm volatile(
        "{\n.reg .pred ended;\n"
        "mbarrier.test_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
        "selp.b32 %0, 1, 0, ended;\n}\n"
        : "=r"(ended)
        : "r"(Address()), "r"(phase & 1)
        : "memory");
    return ended != 0;
  }

  __device__ uint32_t Address() const {
    return static_cast<uint32_t>(__cvta_generic_to_shared(&state_));
  }

  uint64_t state_;
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_PHASE_BARRIER_CUH_
