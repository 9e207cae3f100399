// What the decode kernel is called with, and which kernels there are.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_ARGS_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_ARGS_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/attention/params.h"
#include "kernels/cuda/attention/decode_items.h"
#include "kernels/cuda/attention/selection_scores.h"
#include "kernels/cuda/launch_trail.h"

namespace tidal::cuda::decode {

enum class Mode : uint8_t {
  kDense,    // every row over its context
  kScoring,  // the same, and the scores of the sparse rows
  kSparse,   // sparse rows over their selection
};

struct Args {
  const bfloat16* q;      // [rows, H, D]
  const bfloat16* k;      // [num_blocks, KV, B, D]
  const bfloat16* v;      // the same
  const int32_t* blocks;  // [sequence slots, table_stride]
  const int32_t* slots;   // [num_sets, set_stride]; kSparse only, like the next
  int64_t set_stride;
  void* out;                // [rows, H, D], float or bf16
  const DecodeItem* items;  // [*item_count], at least as many as there are blocks are readable
  const int32_t* item_count;
  int32_t* items_drawn;       // by all blocks; zero between two operations
  const RowItems* row_items;  // [rows]
  int32_t rows;
  // Of items whose row has several splits; the sums also of items whose logits are kept. Relative
  // to the maximum, before division by the sum.
  float* partial_out;      // [items, G, D]
  float2* partial_sums;    // [items, G]: maximum of the logits, sum of 2^(logit - maximum)
  int32_t* splits_done;    // [rows, KV]; zero between two operations
  SelectionScores scores;  // kScoring only, like the next
  SelectionRule rule;
  int32_t table_stride, num_sets;
  int32_t num_kv_heads, group;
  int32_t block_shift;  // log2 of B
  int32_t stages;       // chunks in flight a warp
  bool bf16_out;
  float logit_scale;  // softmax_scale * log2(e): logits are in base 2
};

// A block is four warps that compute and one that finishes what they computed. Each of the four
// owns a ring of `stages` chunks in shared memory and shares nothing with the others until an
// item's end.
inline constexpr int kWarps = 4;
inline constexpr int kThreads = (kWarps + 1) * 32;
// Tokens of a chunk: the k of a tensor-core product, and never more than a cache block.
inline constexpr int kChunkTokens = 16;
// Heads whose partial results are handed to the finishing warp at a time: those of half a warp in a
// register of a product.
inline constexpr int kRoundHeads = 4;
// Chunks of an item that a warp has yet to copy when it looks up the next item, and takes the one
// after that: early enough for memory to answer, late enough to know who is fast.
inline constexpr int kLookAheadChunks = 4;
// Splits whose partial results a thread loads at a time.
inline constexpr int kMergeBatch = 8;
inline constexpr int kMinStages = 2, kMaxStages = 6;

constexpr size_t StageBytes(int dim) { return size_t{2} * kChunkTokens * dim * 2; }
// Rows of handed-over results are padded by 4 floats, rows of q by 8 elements, against bank
// conflicts.
inline constexpr size_t kBarrierBytes = 4 * sizeof(uint64_t);
inline constexpr size_t kRingBytes = 16 * (sizeof(DecodeItem) + sizeof(uint64_t));
constexpr size_t HandoverBytes(int dim, int group) {
  const size_t results =
      size_t{kWarps} * kRoundHeads * ((dim + 4) * sizeof(float) + sizeof(float2));
  const size_t queries = size_t{2} * 2 * group * (dim + 8);  // of two items
  return results + queries + 3 * sizeof(DecodeItem) + kBarrierBytes;
}
// Tokens of a window of logits, of which there are two: some 4 KB of a group, rounded down to whole
// chunks of the four warps. Heads are padded by 16 elements, against bank conflicts.
inline constexpr int kWindowPad = 16;
__host__ __device__ constexpr int WindowTokens(int group) {
  return 2048 / group / (kWarps * kChunkTokens) * (kWarps * kChunkTokens);
}
__host__ __device__ constexpr size_t WindowBytes(int group) {
  return size_t{2} * group * (WindowTokens(group) + kWindowPad) * 2;
}
// Of one warp that pools scores.
__host__ __device__ constexpr size_t PoolerBytes(int heads) {
  return (heads * sizeof(float) + 15) / 16 * 16;
}
// What merging splits needs, once the rings are free.
constexpr size_t MergeBytes() { return size_t{kThreads} * (sizeof(float4) + sizeof(float2)); }
constexpr size_t SharedBytes(int dim, int group, int heads, int stages) {
  return kWarps * stages * StageBytes(dim) + kRingBytes + HandoverBytes(dim, group) +
         WindowBytes(group) + kBarrierBytes + PoolerBytes(heads);
}

// Chosen for an H200: about 128 KB of K and V in flight an SM. More only makes every other access
// wait longer.
constexpr int PreferredStages(int dim) { return dim <= 32 ? 6 : dim <= 64 ? 4 : dim <= 96 ? 3 : 2; }
static_assert(PreferredStages(16) <= kMaxStages);
static_assert(kWarps * kMinStages * StageBytes(16) >= MergeBytes());
constexpr int BlocksPerSm(int dim) { return dim <= 128 ? 2 : 1; }

// The kernels of one head dimension, by Mode; null where there are none.
struct KernelSet {
  void (*kernels[3])(LaunchMark, Args) = {};
};
// Instantiated for each of TIDAL_CUDA_HEAD_DIMS, from decode_instance.cu.in.
template <int kDim>
KernelSet KernelsOfDim();

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_ARGS_H_
