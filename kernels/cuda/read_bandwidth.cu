#include <algorithm>
#include <cstdint>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/read_bandwidth.h"

namespace tidal::cuda {
namespace {

constexpr size_t kBytes = size_t{4} << 30;
constexpr int kThreads = 512, kBlocksPerSm = 4, kUnroll = 8, kPasses = 5;

// Each thread keeps kUnroll loads of 16 bytes in flight. The sum is stored only if it is a value
// that it never is, so that the loads stay.
__global__ void __launch_bounds__(kThreads)
    ReadAll(LaunchMark mark, const uint4* data, size_t count, uint32_t* sink) {
  WaitForPreviousKernel(mark);
  const size_t threads = size_t{gridDim.x} * kThreads;
  const size_t first = size_t{blockIdx.x} * kThreads + threadIdx.x;
  uint32_t sum = 0;
  for (size_t i = first; i < count; i += threads * kUnroll) {
    uint4 values[kUnroll] = {};
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      if (i + j * threads < count) values[j] = __ldcs(data + i + j * threads);
    }
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      sum += values[j].x ^ values[j].y ^ values[j].z ^ values[j].w;
    }
  }
  if (sum == 0x12345678u) *sink = sum;
}

}  // namespace

double MeasureReadBandwidth(DeviceContext& context) {
  char* memory = nullptr;
  if (cudaMalloc(&memory, kBytes + 256) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  cudaEvent_t begin = nullptr, end = nullptr;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  context.Check(cudaMemsetAsync(memory, 1, kBytes + 256, context.stream), "read bandwidth");
  float best = 1e9f;
  for (int pass = 0; pass < kPasses; ++pass) {
    cudaEventRecord(begin, context.stream);
    Launch(context, "read bandwidth", ReadAll,
           {.grid = dim3(context.num_sms * kBlocksPerSm), .block = dim3(kThreads)},
           reinterpret_cast<const uint4*>(memory), kBytes / sizeof(uint4),
           reinterpret_cast<uint32_t*>(memory + kBytes));
    cudaEventRecord(end, context.stream);
    context.Check(cudaEventSynchronize(end), "read bandwidth");
    float milliseconds = 0;
    cudaEventElapsedTime(&milliseconds, begin, end);
    best = std::min(best, milliseconds);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaFree(memory);
  return context.error.empty() ? static_cast<double>(kBytes) / (best * 1e-3) : 0;
}

}  // namespace tidal::cuda
