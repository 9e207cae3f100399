// How K and V of a warp's chunks get into its ring in shared memory.
//
// A chunk's place in the cache is known only through the item, then the block table or the
// selection. Both look-ups run ahead of the copies, which run ahead of the arithmetic, all of them
// across the ends of items: nothing waits for a chain of loads but the first chunk of all.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_LOADER_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_LOADER_CUH_

#include <cstdint>

#include "kernels/cuda/attention/attention_mma.cuh"
#include "kernels/cuda/attention/decode_args.h"
#include "kernels/cuda/attention/decode_feed.cuh"
#include "kernels/cuda/warp.cuh"

namespace tidal::cuda::decode {

// A row of K or V in shared memory is kDim / 8 pieces of 16 bytes. Piece c of token t lies at place
// c ^ Swizzle(t), so that the same piece of 8 successive tokens covers all 32 banks.
template <int kDim>
__device__ inline int Swizzle(int token) {
  constexpr int kPieces = kDim / 8;
  constexpr int kSpread = (kPieces & -kPieces) < 8 ? (kPieces & -kPieces) : 8;
  return token / (8 / kSpread) % kSpread;
}

__device__ inline int NumChunks(int tokens) { return (tokens + kChunkTokens - 1) / kChunkTokens; }

// Waits for the oldest of a ring of copies.
__device__ inline void WaitForOldestCopies(int stages) {
  switch (stages) {
    case 2:
      asm volatile("cp.async.wait_group 1;\n" ::: "memory");
      break;
    case 3:
      asm volatile("cp.async.wait_group 2;\n" ::: "memory");
      break;
    case 4:
      asm volatile("cp.async.wait_group 3;\n" ::: "memory");
      break;
    case 5:
      asm volatile("cp.async.wait_group 4;\n" ::: "memory");
      break;
    default:
      asm volatile("cp.async.wait_group 5;\n" ::: "memory");
      break;
  }
}

// Warp w has chunks w, w + 4, w + 8, .. of every item of its block: equally many in all warps,
// which may mean one past the item's end. Then whatever one warp waits for, another that is no
// further has got: the first warp takes items for all.
template <int kDim, Mode kMode>
class ChunkLoader {
 public:
  // Before WaitForPreviousKernel(): that kernel writes none of what is looked up (PlanDecode).
  __device__ ChunkLoader(const Args& args, const Feed<kMode>& feed, int warp, int lane)
      : args_(args), feed_(feed), warp_(warp), lane_(lane), taker_(feed, lane) {
    ahead_.item = feed_.First();
    if (warp_ == 0) taker_.TakeFixed();
    Load(&ahead_);
    Advance();
  }

  // So many chunks are copied before WaitForPreviousKernel(): not one with a row's last token,
  // which that kernel may be writing. Not where an item is so short that the next would be drawn
  // from a counter which that kernel may be using, and not while scoring, for want of registers.
  __device__ int EarlyChunks() const {
    if (kMode == Mode::kScoring) return 0;
    if (kMode == Mode::kDense && left_ <= kLookAheadChunks + kMaxStages) return 0;
    const DecodeItem& item = now_.item;
    const int whole = (item.tokens() - item.ends_row()) / kChunkTokens;
    return (whole - warp_ + kWarps - 1) / kWarps;  // 0 where whole <= warp_
  }

  // Starts to copy the warp's next chunk to shared memory: [K, V] of [16, kDim], tokens past the
  // item's end and hidden ones as zeros. Counts as a group of copies even when no chunk is left.
  __device__ void CopyNext(uint32_t stage) {
    if (warp_ == 0) taker_.Step(number_ + 1);
    if (left_ == 0 && now_.item.tokens() > 0) Advance();
    if (left_ <= look_ahead_at_) LookUpNextItem();
    if (left_ > 0) {
      Copy(stage);
      ++at_;
      --left_;
    }
    mma::CommitCopies();
  }

 private:
  // Look-ups of one load of the warp: of a dense row 32 chunks' blocks, one a lane; of a selection
  // two chunks' slots, one token a lane.
  struct Lookups {
    DecodeItem item;
    int first = 0;  // the warp's chunk, counted from 0, of the first look-up
    int value = 0;
  };

  __device__ static bool IsGathered(const DecodeItem& item) {
    return kMode == Mode::kSparse && item.sparse();
  }
  __device__ static int ChunksOfLookups(const DecodeItem& item) {
    return IsGathered(item) ? 2 : 32;
  }
  __device__ static int ChunksOfWarp(const DecodeItem& item) {
    return (NumChunks(item.tokens()) + kWarps - 1) / kWarps;
  }
  // The first token, within the item, of the warp's chunk `index`.
  __device__ int FirstToken(int index) const { return (warp_ + kWarps * index) * kChunkTokens; }

  __device__ void Load(Lookups* to) const {
    const DecodeItem& item = to->item;
    to->value = 0;
    if (IsGathered(item)) {
      const int token = FirstToken(to->first + lane_ / kChunkTokens) + lane_ % kChunkTokens;
      if (token < item.tokens()) {
        const int set = args_.num_sets == 1 ? 0 : item.kv_head();
        to->value = args_.slots[set * args_.set_stride + item.begin() + token];
      }
    } else {
      const int token = FirstToken(to->first + lane_);
      if (token < item.tokens()) {
        to->value = args_.blocks[int64_t{item.sequence_slot()} * args_.table_stride +
                                 ((item.begin() + token) >> args_.block_shift)];
      }
    }
  }

  // Once an item, at its last look-ups.
  __device__ void LookUpNextItem() {
    look_ahead_at_ = -1;
    if (warp_ == 0) taker_.Finish(number_ + 1);
    ++number_;
    ahead_.item = feed_.Item(number_);
    ahead_.first = 0;
    Load(&ahead_);
    if (warp_ == 0 && ahead_.item.tokens() > 0) taker_.Take(number_ + 1);
  }

  __device__ void Advance() {
    now_ = ahead_;
    at_ = 0;
    left_ = min(ChunksOfWarp(now_.item) - now_.first, ChunksOfLookups(now_.item));
    if (now_.item.tokens() == 0) return;
    if (now_.first + left_ < ChunksOfWarp(now_.item)) {
      ahead_.first += left_;
      Load(&ahead_);
    } else {
      look_ahead_at_ = kLookAheadChunks;
    }
  }

  __device__ void Copy(uint32_t stage) const {
    constexpr int kPieces = kDim / 8;
    const DecodeItem& item = now_.item;
    const int first_token = FirstToken(now_.first + at_);
    const int valid = item.tokens() - first_token;
    const int hidden = kMode == Mode::kDense && first_token == 0 ? item.hidden() : 0;
    const int shift = args_.block_shift;
    const uint32_t mask = (1u << shift) - 1;
    const bool gathered = IsGathered(item);
    // Cache rows are counted in [num_blocks, KV, B].
    uint32_t row;
    if (gathered) {
      row = static_cast<uint32_t>(now_.value);
    } else {
      row = static_cast<uint32_t>(__shfl_sync(kAllLanes, now_.value, at_)) << shift |
            (static_cast<uint32_t>(item.begin() + first_token) & mask);
    }
    row = ((row >> shift) * args_.num_kv_heads + item.kv_head()) << shift | (row & mask);
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i) {
      const int token = (i * 32 + lane_) / kPieces;
      const int piece = (i * 32 + lane_) % kPieces;
      const uint32_t token_row =
          gathered ? __shfl_sync(kAllLanes, row, at_ * kChunkTokens + token) : row + token;
      const int64_t offset = int64_t{token_row} * kDim + piece * 8;
      const uint32_t to = stage + token * kDim * 2 + (piece ^ Swizzle<kDim>(token)) * 16;
      const bool counts = token < valid && token >= hidden;
      CopyPiece(to, args_.k + offset, counts);
      CopyPiece(to + kChunkTokens * kDim * 2, args_.v + offset, counts);
    }
  }

  // Logits that are kept need the L2 cache more than K and V do.
  __device__ static void CopyPiece(uint32_t to, const bfloat16* from, bool valid) {
    if constexpr (kMode == Mode::kScoring) {
      mma::CopyAsyncOnce(to, from, valid);
    } else {
      mma::CopyAsync(to, from, valid);
    }
  }

  const Args& args_;
  FeedOfWarp<kMode> feed_;
  const int warp_, lane_;
  // Of the first warp.
  std::conditional_t<kDealt<kMode>, ItemTaker, NoTaker> taker_;
  Lookups now_;  // what is being copied: chunk at_ of it, left_ more with it
  int at_ = 0, left_ = 0;
  Lookups ahead_;           // in flight: what follows, of item number number_ or what now_ is of
  int number_ = 0;          // of the last item that was looked up
  int look_ahead_at_ = -1;  // left_ from which on the next is; -1: it has been, or not yet
};

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_LOADER_CUH_
