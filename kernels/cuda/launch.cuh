// What kernels do about programmatic dependent launch, with which they are launched: a kernel's
// blocks come while the one before it, and even the one before that, are at work (sm_90; elsewhere
// an ordinary launch). They fetch what does not change meanwhile, weights above all, and so the
// memory is never idle between two kernels.
//
// Every kernel launched by Launch() calls WaitForPreviousKernel() before it touches memory that an
// earlier kernel writes or reads: then all kernels before it have ended. What was written before a
// launch that was made full (DeviceContext::next_launch_is_full) can be read without waiting. It
// may call LetNextKernelStart() at any time; when all its blocks have, those of the next are let
// in.
//
// A kernel's first parameter is the mark that it leaves when it begins, so that a fault of the
// device can be named (launch_trail.h).
#ifndef TIDAL_KERNELS_CUDA_LAUNCH_CUH_
#define TIDAL_KERNELS_CUDA_LAUNCH_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/launch_trail.h"

namespace tidal::cuda {

// For warps that begin nothing: without the first thread of a block, which leaves the mark.
__device__ inline void WaitForPreviousKernel() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

// One word that nothing waits for: 0.01 us of a kernel of no length, and no time of a longer one.
__device__ inline void LeaveMark(const LaunchMark& mark, LaunchWord word) {
  if (blockIdx.x != 0 || threadIdx.x != 0 || mark.where == nullptr) return;
  *const_cast<volatile uint64_t*>(mark.where + static_cast<int>(word)) = mark.what;
}

__device__ inline void WaitForPreviousKernel(const LaunchMark& mark) {
  WaitForPreviousKernel();
  LeaveMark(mark, LaunchWord::kBegun);
}

// By a kernel that looks up places, which could be wrong, before it waits.
__device__ inline void BeginEarly(const LaunchMark& mark) { LeaveMark(mark, LaunchWord::kEarly); }

__device__ inline void LetNextKernelStart() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_LAUNCH_CUH_
