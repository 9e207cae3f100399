// From partial results to the output: of the warps of a block, then of the splits of a row.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_MERGE_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_MERGE_CUH_

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/decode_args.h"
#include "kernels/cuda/attention/decode_l2.cuh"
#include "kernels/cuda/attention/decode_warp.cuh"

namespace tidal::cuda::decode {

// A sum over tokens of 2^logit and of 2^logit * v (four dims), added up part by part.
struct Merge {
  float base;  // what logits are relative to
  float sum = 0.0f;
  float4 out = {0.0f, 0.0f, 0.0f, 0.0f};

  // `max` over all parts.
  __device__ explicit Merge(float max) : base(Base(max)) {}

  __device__ void Add(float2 part_sums, float4 part) {
    const float weight = mma::Exp2(part_sums.x - base);
    sum = __fmaf_rn(weight, part_sums.y, sum);
    out.x = __fmaf_rn(weight, part.x, out.x);
    out.y = __fmaf_rn(weight, part.y, out.y);
    out.z = __fmaf_rn(weight, part.z, out.z);
    out.w = __fmaf_rn(weight, part.w, out.w);
  }
};

// Writes dims [dim, dim + 4) of a head's output.
template <int kDim>
__device__ inline void WriteResult(const Args& args, const DecodeItem& item, int head, int dim,
                                   const Merge& merge) {
  const int64_t row_head =
      (int64_t{item.row()} * args.num_kv_heads + item.kv_head()) * args.group + head;
  const float scale = __frcp_rn(merge.sum);
  const float4 out = {__fmul_rn(merge.out.x, scale), __fmul_rn(merge.out.y, scale),
                      __fmul_rn(merge.out.z, scale), __fmul_rn(merge.out.w, scale)};
  if (args.bf16_out) {
    *reinterpret_cast<uint2*>(static_cast<bfloat16*>(args.out) + row_head * kDim + dim) =
        make_uint2(mma::PackBf16(out.x, out.y), mma::PackBf16(out.z, out.w));
  } else {
    *reinterpret_cast<float4*>(static_cast<float*>(args.out) + row_head * kDim + dim) = out;
  }
}

constexpr int kLineFloats = 32;  // of a line of the L2 cache

// Sums over the splits of one place of four dims, taken in order, kBatch at a time: their loads are
// in flight together, and nothing else here takes long.
template <int kBatch>
struct SplitSums {
  float max = -INFINITY;
  float sum = 0.0f;
  float4 out = {0.0f, 0.0f, 0.0f, 0.0f};

  float2 part_sums[kBatch];
  float4 part[kBatch];

  // sums, out: of split 0; both go on by `stride` heads a split.
  template <int kDim>
  __device__ void Load(const float2* sums, const float* values, int64_t stride, int first,
                       int splits) {
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int split = first + i;
      part_sums[i] = make_float2(-INFINITY, 0.0f);
      part[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      if (split < splits) {
        part_sums[i] = __ldcg(sums + split * stride);
        part[i] = __ldcg(reinterpret_cast<const float4*>(values + split * stride * kDim));
      }
    }
  }
  __device__ void Add() {
    float batch_max = max;
#pragma unroll
    for (int i = 0; i < kBatch; ++i) batch_max = fmaxf(batch_max, part_sums[i].x);
    Merge merge(batch_max);
    merge.Add(make_float2(max, sum), out);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) merge.Add(part_sums[i], part[i]);
    max = batch_max;
    sum = merge.sum;
    out = merge.out;
  }
};

// Adds up all splits of kHeads query heads of one KV head, first_head of its group and the next.
// Called by all threads of the block after a __syncthreads(), whose shared memory lends
// MergeBytes(). A place of four dims is added up by as many threads as there are, each over some of
// the splits, one after the other; then by one over theirs.
template <int kDim, Mode kMode, int kHeads>
__device__ void MergeSplits(const Args& args, const DecodeItem& item, int64_t first_result,
                            int first_head, unsigned char* shared) {
  constexpr int kQuads = kDim / 4;          // of 4 dims, in a head
  constexpr int kPlaces = kHeads * kQuads;  // in all heads
  constexpr int kShares = kThreads / kPlaces;
  static_assert(kShares > 0);
  const int splits = item.num_splits();
  const int share = threadIdx.x / kPlaces, place = threadIdx.x % kPlaces;
  const int head = first_head + place / kQuads, dim = place % kQuads * 4;
  const int a_share = (splits + kShares - 1) / kShares;
  const int begin = min(share * a_share, splits), end = min(begin + a_share, splits);
  const int64_t first = (first_result + item.kv_head()) * args.group + head;
  const int64_t stride = int64_t{args.num_kv_heads} * args.group;  // from split to split, in heads
  SplitSums<kMergeBatch> sums;
  if (share < kShares) {
    for (int split = begin; split < end; split += kMergeBatch) {
      sums.template Load<kDim>(args.partial_sums + first, args.partial_out + first * kDim + dim,
                               stride, split, end);
      sums.Add();
    }
  }
  auto* const outs = reinterpret_cast<float4*>(shared);            // [kShares, kPlaces]
  auto* const norms = reinterpret_cast<float2*>(outs + kThreads);  // the same
  if constexpr (kShares > 1) {
    outs[threadIdx.x] = sums.out;
    norms[threadIdx.x] = make_float2(sums.max, sums.sum);
    __syncthreads();
  }
  if constexpr (kMode != Mode::kSparse && kDim % kLineFloats == 0) {
    if constexpr (kShares == 1) __syncthreads();  // all have read theirs
    constexpr int kLines = kHeads * kDim / kLineFloats;
    float* const out =
        args.partial_out + ((first_result + item.kv_head()) * args.group + first_head) * kDim;
    for (int i = threadIdx.x; i < splits * kLines; i += kThreads) {
      Discard(out + i / kLines * stride * kDim + i % kLines * kLineFloats);
    }
  }
  if (share == 0) {
    float max = sums.max;
#pragma unroll
    for (int i = 1; i < kShares; ++i) max = fmaxf(max, norms[i * kPlaces + place].x);
    Merge merge(max);
    merge.Add(make_float2(sums.max, sums.sum), sums.out);
#pragma unroll
    for (int i = 1; i < kShares; ++i) {
      merge.Add(norms[i * kPlaces + place], outs[i * kPlaces + place]);
    }
    WriteResult<kDim>(args, item, head, dim, merge);
  }
}

// Counts a split as done. What this warp wrote before its last __syncwarp() is seen by the block
// that reads the count.
__device__ inline void CountDone(int32_t* count) {
  asm volatile("red.add.release.gpu.global.s32 [%0], 1;\n" ::"l"(count) : "memory");
}

__device__ inline int32_t LoadCount(const int32_t* count) {
  int32_t value;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];\n" : "=r"(value) : "l"(count) : "memory");
  return value;
}

// MergeRows, kHeads heads at a time: known when compiled, as a loop over them costs small loads
// more than large ones gain.
//
// This is the end of the operation: what is to be merged is looked up while the fifth warp finishes
// the block's last item.
template <int kDim, Mode kMode, int kHeads>
__device__ void MergeHeads(const Args& args, unsigned char* shared) {
  const int units_a_row = args.num_kv_heads * args.group / kHeads;
  const int units = args.rows * units_a_row;
  const auto items_of = [&](int unit) {
    return unit < units ? args.row_items[unit / units_a_row] : RowItems{};
  };
  RowItems next = items_of(blockIdx.x);
  // Asking before the block's own last item is done only makes the answer come later.
  __syncthreads();
  for (int unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const RowItems items = next;
    next = items_of(unit + gridDim.x);
    if (items.num_splits < 2) continue;
    const int row = unit / units_a_row;
    const int head = unit % units_a_row * kHeads;
    const int kv_head = head / args.group;
    int32_t* const done = args.splits_done + row * args.num_kv_heads + kv_head;
    if (threadIdx.x == 0) {
      while (LoadCount(done) < items.num_splits) __nanosleep(20);
    }
    // The splits are done; and nobody uses the shared memory for anything else any more.
    __syncthreads();
    int32_t counted = 0;
    if (threadIdx.x == 0) counted = atomicAdd(done, kHeads);
    MergeSplits<kDim, kMode, kHeads>(
        args, DecodeItem::Make(row, 0, kv_head, 0, 0, 0, items.sparse, items.num_splits),
        items.first, head % args.group, shared);
    // The last of the group's heads leaves a zero for the next operation.
    if (threadIdx.x == 0 && counted == items.num_splits + args.group - kHeads) *done = 0;
  }
}

// The rows that were cut, after a block's own items: each query head is merged by one block, which
// waits until all its splits are done. All blocks of the grid run at the same time, so that what is
// waited for is being computed. (If whoever computes the last split merged the row, a block that is
// late once would be last again and again, and merge everything.) Where there are more heads than
// blocks a block merges several at once: what it waits for is the same. Called by all threads; by
// then the four warps need the fifth no more.
template <int kDim, Mode kMode>
__device__ void MergeRows(const Args& args, unsigned char* shared) {
  constexpr int kMaxHeads = kThreads / (kDim / 4);
  const int heads = args.rows * args.num_kv_heads * args.group;
  const int blocks = static_cast<int>(gridDim.x);
  // Only where there may be many rows to merge at full speed: the code of all three is fetched.
  if constexpr (kMode == Mode::kDense && kMaxHeads >= 4) {
    if (heads > 2 * blocks && args.group % 4 == 0) return MergeHeads<kDim, kMode, 4>(args, shared);
  }
  if constexpr (kMode == Mode::kDense && kMaxHeads >= 2) {
    if (heads > blocks && args.group % 2 == 0) return MergeHeads<kDim, kMode, 2>(args, shared);
  }
  MergeHeads<kDim, kMode, 1>(args, shared);
}

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_MERGE_CUH_
