// The decode kernel: one template for dense, scoring and sparse decode, which differ in how a
// token's cache row is found and whether logits are kept.
//
// Bound by the bytes of K and V. Two blocks an SM keep about 128 KB of copies in flight, of which
// some 40 KB are needed to cover the memory's latency at full speed; the rest covers the warps' own
// pauses.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_KERNEL_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_KERNEL_CUH_

#include <cstdint>

#include "kernels/cuda/attention/decode_args.h"
#include "kernels/cuda/attention/decode_finisher.cuh"
#include "kernels/cuda/attention/decode_loader.cuh"
#include "kernels/cuda/attention/decode_merge.cuh"
#include "kernels/cuda/attention/decode_warp.cuh"
#include "kernels/cuda/launch.cuh"

namespace tidal::cuda::decode {

// Keeps a chunk's logits of the group's heads, -infinity past the context included: every row's
// place ends at a multiple of 16 tokens. `to`: the group's first plane, at the chunk's first token.
__device__ inline void KeepLogits(const float (&logits)[2][4], float* to, int64_t head_stride,
                                  int group, int lane) {
  const int column = lane % 4 * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int head = lane / 4 + 8 * half;
    if (head >= group) continue;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      *reinterpret_cast<float2*>(to + head * head_stride + n * 8 + column) =
          make_float2(logits[n][2 * half], logits[n][2 * half + 1]);
    }
  }
}

// One of the four warps that compute: its chunks of all items of the block.
template <int kDim, Mode kMode>
__device__ void ComputeItems(const Args& args, int item_count, uint32_t ring,
                             const Handover<kDim>& handover, int warp, int lane) {
  const int stages = args.stages;
  ChunkLoader<kDim, kMode> loader(args, item_count, warp, lane);
  for (int stage = 0; stage < stages; ++stage) {
    loader.CopyNext(ring + stage * static_cast<uint32_t>(StageBytes(kDim)));
  }

  int stage = 0;
  bool handed_over = false;
  int parity = 0;
  for (int index = blockIdx.x; index < item_count; index += gridDim.x) {
    if (parity == 0) {
      Wait<kQueryReady>();
    } else {
      Wait<kQueryReady + 1>();
    }
    const DecodeItem item = {handover.item[parity]};
    WarpAttention<kDim> attention;
    attention.Start(handover.QueryOf(parity), Handover<kDim>::kQueryRow, args.group, lane);
    float* kept_logits = nullptr;
    if (kMode == Mode::kScoring && item.sparse()) {
      kept_logits = args.scores.logits +
                    int64_t{item.kv_head()} * args.group * args.scores.head_stride +
                    args.scores.row_offsets[item.row()] + item.begin();
    }
    for (int token = warp * kChunkTokens; token < item.tokens(); token += kWarps * kChunkTokens) {
      WaitForOldestCopies(stages);
      __syncwarp();  // every lane has waited for its own copies
      const uint32_t chunk = ring + stage * static_cast<uint32_t>(StageBytes(kDim));
      float logits[2][4];
      attention.Logits(chunk, item.tokens() - token, args.logit_scale, lane, logits);
      if (kMode == Mode::kScoring && kept_logits != nullptr) {
        KeepLogits(logits, kept_logits + token, args.scores.head_stride, args.group, lane);
      }
      attention.Add(chunk, logits, lane);
      __syncwarp();  // every lane has read the chunk
      loader.CopyNext(chunk);
      stage = stage + 1 == stages ? 0 : stage + 1;
    }
    parity ^= 1;
    attention.SumLanes();
    HandOver(attention, args.group, warp, lane, handover, &handed_over);
  }
}

// A grid of blocks that all run at the same time; a list item is computed by block index % grid.
template <int kDim, Mode kMode>
__global__ void __launch_bounds__(kThreads, BlocksPerSm(kDim))
    DecodeKernel(const __grid_constant__ Args args) {
  extern __shared__ __align__(128) unsigned char shared[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int stages = args.stages;
  const uint32_t ring = static_cast<uint32_t>(__cvta_generic_to_shared(shared)) +
                        warp * stages * static_cast<uint32_t>(StageBytes(kDim));
  const Handover<kDim> handover(shared + kWarps * stages * StageBytes(kDim), args.group);

  WaitForPreviousKernel();
  LetNextKernelStart();
  const int item_count = *args.item_count;
  if (warp < kWarps) {
    ComputeItems<kDim, kMode>(args, item_count, ring, handover, warp, lane);
  } else {
    Finisher<kDim, kMode>(args, handover, lane).Run(item_count);
  }
  __syncthreads();
  MergeRows<kDim, kMode>(args);
}

template <int kDim>
KernelSet KernelsOfDim() {
  return {{DecodeKernel<kDim, Mode::kDense>, DecodeKernel<kDim, Mode::kScoring>,
           DecodeKernel<kDim, Mode::kSparse>}};
}

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_KERNEL_CUH_
