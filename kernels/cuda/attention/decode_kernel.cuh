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
#include "kernels/cuda/attention/decode_feed.cuh"
#include "kernels/cuda/attention/decode_finisher.cuh"
#include "kernels/cuda/attention/decode_loader.cuh"
#include "kernels/cuda/attention/decode_logits.cuh"
#include "kernels/cuda/attention/decode_merge.cuh"
#include "kernels/cuda/attention/decode_pooling.cuh"
#include "kernels/cuda/attention/decode_warp.cuh"
#include "kernels/cuda/launch.cuh"

namespace tidal::cuda::decode {

// One of the four warps that compute: its chunks of all items of the block.
template <int kDim, Mode kMode>
__device__ void ComputeItems(LaunchMark mark, const Args& args, const Feed<kMode>& feed,
                             uint32_t ring, const Handover<kDim>& handover,
                             const LogitWindows& windows, int warp, int lane) {
  const int stages = args.stages;
  LogitWriter kept_logits(windows, lane);
  ChunkLoader<kDim, kMode> loader(args, feed, warp, lane);
  const int early = min(loader.EarlyChunks(), stages);
  for (int stage = 0; stage <= stages; ++stage) {
    if (stage == early) WaitForPreviousKernel(mark);
    if (stage < stages) loader.CopyNext(ring + stage * static_cast<uint32_t>(StageBytes(kDim)));
  }

  int stage = 0, round = 0;
  for (int number = 0;; ++number) {
    const int parity = number % 2;
    handover.barriers->query_ready[parity].Wait(number / 2);
    const DecodeItem item = {handover.item[parity]};
    if (item.tokens() == 0) break;
    WarpAttention<kDim> attention;
    attention.Start(handover.QueryOf(parity), Handover<kDim>::kQueryRow, args.group, lane);
    const bool keeps_logits = kMode == Mode::kScoring && item.sparse();
    if (keeps_logits) kept_logits.Begin();
    for (int first = 0; first < item.tokens(); first += kWarps * kChunkTokens) {
      const int token = first + warp * kChunkTokens;  // perhaps past the end
      WaitForOldestCopies(stages);
      __syncwarp();  // every lane has waited for its own copies
      const uint32_t chunk = ring + stage * static_cast<uint32_t>(StageBytes(kDim));
      float logits[2][4];
      attention.Logits(chunk, item.tokens() - token, args.logit_scale, lane, logits);
      if (kMode == Mode::kDense && token == 0 && item.hidden() > 0) {
        attention.Hide(item.hidden(), lane, logits);
      }
      if (keeps_logits) kept_logits.Keep(logits, token);
      attention.Add(chunk, logits, lane);
      __syncwarp();  // every lane has read the chunk
      loader.CopyNext(chunk);
      stage = stage + 1 == stages ? 0 : stage + 1;
    }
    if (keeps_logits) kept_logits.End(item.tokens());
    attention.SumLanes();
    HandOver(attention, args.group, warp, lane, handover, &round);
  }
}

// The fifth warp.
template <int kDim, Mode kMode>
__device__ void FinishItems(const Args& args, const Feed<kMode>& feed,
                            const Handover<kDim>& handover, const LogitWindows& windows,
                            float* log_sum_exp, int lane) {
  if constexpr (kMode == Mode::kScoring) {
    ScorePooler pooler(args, log_sum_exp, lane);
    Finisher<kDim, kMode>(args, feed, handover, windows, &pooler, lane).Run();
    if (lane == 0) *reinterpret_cast<ScorePooler::Position*>(handover.pooled) = pooler.position();
  } else {
    Finisher<kDim, kMode>(args, feed, handover, windows, nullptr, lane).Run();
  }
}

// A grid of blocks that all run at the same time.
template <int kDim, Mode kMode>
__global__ void __launch_bounds__(kThreads, BlocksPerSm(kDim))
    DecodeKernel(LaunchMark mark, const __grid_constant__ Args args) {
  extern __shared__ __align__(128) unsigned char shared[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int stages = args.stages;
  const uint32_t ring = static_cast<uint32_t>(__cvta_generic_to_shared(shared)) +
                        warp * stages * static_cast<uint32_t>(StageBytes(kDim));
  unsigned char* const behind_rings = shared + kWarps * stages * StageBytes(kDim);
  auto* const item_ring = reinterpret_cast<ItemRing*>(behind_rings);
  const Handover<kDim> handover(behind_rings + kRingBytes, args.group);
  const LogitWindows windows(behind_rings + kRingBytes + HandoverBytes(kDim, args.group),
                             args.group);

  // [H] a warp that pools: the fifth's lies behind everything, the others' where their rings were.
  unsigned char* const log_sum_exp =
      warp < kWarps ? shared + warp * stages * StageBytes(kDim)
                    : reinterpret_cast<unsigned char*>(windows.barriers) + kBarrierBytes;

  if (kDealt<kMode>) item_ring->Init();
  if (threadIdx.x == 0) {
    handover.barriers->Init();
    if (kMode == Mode::kScoring) windows.barriers->Init();
  }
  __syncthreads();
  LetNextKernelStart();
  BeginEarly(mark);
  // While the previous kernel ends, the first chunks are looked up and copied (see PlanDecode).
  const Feed<kMode> feed = MakeFeed<kMode>(args, item_ring);
  if (warp < kWarps) {
    ComputeItems<kDim, kMode>(mark, args, feed, ring, handover, windows, warp, lane);
  } else {
    FinishItems<kDim, kMode>(args, feed, handover, windows, reinterpret_cast<float*>(log_sum_exp),
                             lane);
  }
  if constexpr (kMode == Mode::kScoring) {
    ScorePooler pooler(args, reinterpret_cast<float*>(log_sum_exp), lane);
    __syncthreads();
    pooler.MoveTo(*reinterpret_cast<const ScorePooler::Position*>(handover.pooled));
    pooler.Finish(warp);
  }
  MergeRows<kDim, kMode>(args, shared);
}

template <int kDim>
KernelSet KernelsOfDim() {
  return {{DecodeKernel<kDim, Mode::kDense>, DecodeKernel<kDim, Mode::kScoring>,
           DecodeKernel<kDim, Mode::kSparse>}};
}

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_KERNEL_CUH_
