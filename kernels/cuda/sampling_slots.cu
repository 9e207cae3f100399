// What slots keep for sampling: counts of their tokens, and what a draft turned out to be.
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

// One thread a row.
__global__ void AcceptDraftsKernel(LaunchMark mark, const SampleParams p) {
  WaitForPreviousKernel(mark);
  LetNextKernelStart();
  const auto row = static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
  if (row < p.num_rows) p.AcceptDraft(row);
}

}  // namespace

void CountTokens(const CountTokensParams& p, DeviceContext& context) {
  Launch(context, "CountTokens", CountTokensKernel, {.grid = dim3(1), .block = dim3(kThreads)}, p);
}

void AcceptDrafts(const SampleParams& p, DeviceContext& context) {
  constexpr int kRowsPerBlock = 128;
  if (p.num_rows < 1) return;
  const int blocks = (p.num_rows + kRowsPerBlock - 1) / kRowsPerBlock;
  Launch(context, "AcceptDrafts", AcceptDraftsKernel,
         {.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(kRowsPerBlock)}, p);
}

}  // namespace tidal::cuda
