#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sampling.h"

namespace tidal::cuda {
namespace {

constexpr int kThreads = 512;

// One block: a prompt is counted once, when its sequence gets its slot.
__global__ void __launch_bounds__(kThreads)
    CountTokensKernel(LaunchMark mark, const CountTokensParams p) {
  WaitForPreviousKernel(mark);
  LetNextKernelStart();
  for (int32_t id = static_cast<int32_t>(threadIdx.x); id < p.vocab; id += kThreads) {
    p.counts[id] = {};
  }
  __syncthreads();
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < p.num_tokens; i += kThreads) {
    auto* const bits = reinterpret_cast<unsigned short*>(&p.counts[p.tokens[i]].bits);
    unsigned short old = *bits, expected;
    do {
      expected = old;
      const TokenCount count = {expected};
      const TokenCount next = i < p.num_prompt_tokens ? count.AfterPrompt() : count.AfterOutput();
      old = atomicCAS(bits, expected, next.bits);
    } while (old != expected);
  }
}

}  // namespace

void CountTokens(const CountTokensParams& p, DeviceContext& context) {
  Launch(context, "CountTokens", CountTokensKernel, {.grid = dim3(1), .block = dim3(kThreads)}, p);
}

}  // namespace tidal::cuda
