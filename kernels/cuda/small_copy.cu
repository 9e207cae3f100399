#include <cstdint>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/small_copy.h"

namespace tidal::cuda {
namespace {

constexpr size_t kMostBytes = size_t{64} << 10;
constexpr int kThreads = 256;
constexpr int kMostBlocks = 16;

__global__ void __launch_bounds__(kThreads)
    SmallCopyKernel(LaunchMark mark, uint32_t* dst, const uint32_t* src, int words) {
  LetNextKernelStart();
  WaitForPreviousKernel(mark);
  for (int i = blockIdx.x * kThreads + threadIdx.x; i < words; i += gridDim.x * kThreads) {
    dst[i] = src[i];
  }
}

}  // namespace

bool IsSmallCopy(const void* dst, const void* src, size_t bytes) {
  const size_t words = reinterpret_cast<uintptr_t>(dst) | reinterpret_cast<uintptr_t>(src) | bytes;
  return bytes <= kMostBytes && words % sizeof(uint32_t) == 0;
}

void SmallCopy(void* dst, const void* src, size_t bytes, const char* operation,
               DeviceContext& context) {
  const int words = static_cast<int>(bytes / sizeof(uint32_t));
  const int blocks = (words + kThreads - 1) / kThreads;
  Launch(context, operation, SmallCopyKernel,
         {.grid = dim3(blocks < kMostBlocks ? blocks : kMostBlocks), .block = dim3(kThreads)},
         static_cast<uint32_t*>(dst), static_cast<const uint32_t*>(src), words);
}

}  // namespace tidal::cuda
