// The items of decode attention, which are what a block works on, and how they are dealt out. Which
// there are is decided elsewhere (decode_plan.h).
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_ITEMS_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_ITEMS_H_

#include <cuda_runtime.h>

#include <cstdint>

namespace tidal::cuda::decode {

// One (row, KV head, split), with all that a block has to know to find its tokens: what it would
// have to look up first would cost it another trip to memory. No tokens: no item.
struct DecodeItem {
  static constexpr int32_t kMaxRows = 1 << 16, kMaxKvHeads = 1 << 8, kMaxSplits = (1 << 14) - 1,
                           kMaxResults = 1 << 24;

  int4 words = {0, 0, 0, 0};

  __host__ __device__ static DecodeItem Make(int32_t row, int32_t sequence_slot, int32_t kv_head,
                                             int32_t result, int32_t begin, int32_t tokens,
                                             bool sparse, int32_t num_splits) {
    // The warps that copy keep items in registers, and have none to spare: what they need is in x,
    // z and w.
    const auto join = [](int32_t low, int32_t high, int shift) {
      return static_cast<int32_t>(low | static_cast<uint32_t>(high) << shift);
    };
    return {{join(sequence_slot, kv_head | row % 256 << 8, 16), join(result, row / 256, 24), begin,
             join(tokens, num_splits | int32_t{sparse} << 14, 16)}};
  }
  __host__ __device__ int32_t row() const {
    return (words.x >> 24 & 0xff) | (words.y >> 16 & 0xff00);
  }
  __host__ __device__ int32_t sequence_slot() const { return words.x & 0xffff; }
  __host__ __device__ int32_t kv_head() const { return words.x >> 16 & 0xff; }
  // Where its partial results lie: those of a row lie together, split s of KV head h at
  // RowItems::first + s * KV + h.
  __host__ __device__ int32_t result() const { return words.y & 0xffffff; }
  // First token of the split: of a context counted in the row, of a selection in its set of all
  // rows' tokens (TokenSelection). A multiple of 16.
  __host__ __device__ int32_t begin() const { return words.z & ~15; }
  // So many of its first tokens do not count: a window begins where it wants to.
  __host__ __device__ int32_t hidden() const { return words.z & 15; }
  __host__ __device__ void Hide(int32_t tokens) { words.z |= tokens; }
  __host__ __device__ int32_t tokens() const { return words.w & 0xffff; }
  __host__ __device__ int32_t num_splits() const { return words.w >> 16 & kMaxSplits; }
  __host__ __device__ bool sparse() const { return words.w >> 30 & 1; }  // has a token budget
  // The row's last split, and so with the row's last token.
  __host__ __device__ bool ends_row() const { return words.w < 0; }
  __host__ __device__ void MarkEnd() { words.w |= INT32_MIN; }
};

// Where a row's partial results lie, and how many splits it has.
struct RowItems {
  int32_t first, num_splits;
  bool sparse;  // the row has a token budget
};

// How the items of a list are dealt to the blocks of a grid. A block's first items are fixed, so
// that starting costs nothing; each further one belongs to a number that the block draws from a
// counter. Every block draws until it has drawn one without an item, so there are `items - blocks`
// draws if there are any, and whoever has the last of them sets the counter back to zero.
struct Deal {
  int32_t items, blocks;

  static constexpr int32_t kFixed = 2;  // items of a block

  // In the list, of the block's fixed item `number`.
  __host__ __device__ int32_t FixedIndex(int32_t block, int32_t number) const {
    return block + number * blocks;
  }
  __host__ __device__ int32_t DrawnIndex(int32_t drawn) const { return kFixed * blocks + drawn; }
  __host__ __device__ bool IsLastDraw(int32_t drawn) const {
    return drawn == items - (kFixed - 1) * blocks - 1;
  }
  // Whether it is known without drawing that the block has no item `number`. Otherwise it has one
  // or, if the number is not fixed, draws for it.
  __host__ __device__ bool HasNone(int32_t block, int32_t number) const {
    return (number < kFixed ? FixedIndex(block, number) : DrawnIndex(0)) >= items;
  }
};

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_ITEMS_H_
