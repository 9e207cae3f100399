// How a scoring pass pools the logits it keeps, row by row, as soon as a row is complete: while
// they lie in the L2 cache. Afterwards they are discarded, so that most of them never reach the
// memory.
//
// Each block pools some tiles of every row. Its fifth warp does so whenever it would wait for the
// four others; when all items are done, all five do what is left.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_POOLING_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_POOLING_CUH_

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/decode_args.h"
#include "kernels/cuda/attention/decode_l2.cuh"
#include "kernels/cuda/attention/decode_merge.cuh"
#include "kernels/cuda/attention/score_pooling.cuh"
#include "kernels/cuda/warp.cuh"

namespace tidal::cuda::decode {

constexpr int kTileTokens = 128;  // four a lane

// The work of one block. Tiles, of 128 tokens of a set, are counted over all rows in the order of
// the item list; a block has every gridDim.x-th. Called by whole warps.
class ScorePooler {
 public:
  // How far the block's work is done.
  struct Position {
    int rank = 0;                             // a multiple of 32: rows before it are done
    int tile = static_cast<int>(blockIdx.x);  // the next, counted from that row's first
  };

  // log_sum_exp: [H] in shared memory, the calling warp's own.
  __device__ ScorePooler(const Args& args, float* log_sum_exp, int lane)
      : args_(args), log_sum_exp_(log_sum_exp), lane_(lane) {
    LookAtRows();
  }

  __device__ const Position& position() const { return at_; }
  __device__ void MoveTo(const Position& position) {
    const bool same_rows = position.rank == at_.rank;
    at_ = position;
    if (!same_rows) LookAtRows();
  }

  // Does a little of the work, if it can be done now.
  __device__ void Step() {
    if (!FindTile()) return;
    if (row_ != summed_row_) {
      const int splits = num_splits_ * args_.num_kv_heads;
      const bool complete = LoadCount(args_.scores.splits_scored + row_) == splits;
      if (!__all_sync(kAllLanes, complete)) return;  // lanes need not have looked at one moment
      SumExponentials();
      summed_row_ = row_;
      return;
    }
    PoolTile();
    at_.tile += gridDim.x;
  }

  // Of all work from here on, the share of warp `warp` of kWarps + 1.
  __device__ void Finish(int warp) {
    for (at_.tile += warp * gridDim.x; FindTile(); at_.tile += (kWarps + 1) * gridDim.x) {
      while (summed_row_ != row_) Step();
      PoolTile();
    }
  }

 private:
  // Each lane looks at one of 32 rows: how many tiles are there, and up to it.
  __device__ void LookAtRows() {
    my_tiles_ = 0;
    if (at_.rank + lane_ < args_.rows) {
      my_row_ = args_.scores.scoring_order[at_.rank + lane_];
      const SelectRange range = args_.rule.Range(my_row_);
      my_head_ = range.head;
      my_end_ = range.end;
      my_items_ = args_.row_items[my_row_];
      my_offset_ = args_.scores.row_begins[my_row_];
      if (range.NeedsScores()) {
        my_tiles_ = (range.end + kTileTokens - 1) / kTileTokens * args_.rule.sets;
      }
    }
    tiles_through_ = InclusiveWarpSum(my_tiles_, lane_);
  }

  // Finds the row and the place of tile at_.tile. False when there is no such tile.
  __device__ bool FindTile() {
    while (true) {
      const int tiles = __shfl_sync(kAllLanes, tiles_through_, 31);
      if (at_.tile < tiles) break;
      if (at_.rank + 32 >= args_.rows) return false;
      at_ = {at_.rank + 32, at_.tile - tiles};
      LookAtRows();
    }
    const int lane = __popc(__ballot_sync(kAllLanes, tiles_through_ <= at_.tile));
    row_ = __shfl_sync(kAllLanes, my_row_, lane);
    head_ = __shfl_sync(kAllLanes, my_head_, lane);
    end_ = __shfl_sync(kAllLanes, my_end_, lane);
    first_item_ = __shfl_sync(kAllLanes, my_items_.first, lane);
    num_splits_ = __shfl_sync(kAllLanes, my_items_.num_splits, lane);
    offset_ = __shfl_sync(kAllLanes, my_offset_, lane);
    const int in_row = at_.tile - __shfl_sync(kAllLanes, tiles_through_ - my_tiles_, lane);
    const int tiles_a_set = (end_ + kTileTokens - 1) / kTileTokens;
    set_ = in_row / tiles_a_set;
    first_token_ = in_row % tiles_a_set * kTileTokens;
    return true;
  }

  // Of the row's heads, each over all splits in order, a head a lane.
  __device__ void SumExponentials() {
    constexpr int kBatch = 16;
    const int heads = args_.num_kv_heads * args_.group;
    __syncwarp();  // nobody reads what was there any more
    for (int head = lane_; head < heads; head += 32) {
      const float2* const sums = args_.partial_sums + int64_t{first_item_} * args_.group + head;
      float max = -INFINITY, sum = 0.0f;
      for (int first = 0; first < num_splits_; first += kBatch) {
        float2 parts[kBatch];
        float batch_max = max;
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          parts[i] = make_float2(-INFINITY, 0.0f);
          if (first + i < num_splits_) parts[i] = __ldcg(sums + int64_t{first + i} * heads);
        }
#pragma unroll
        for (int i = 0; i < kBatch; ++i) batch_max = fmaxf(batch_max, parts[i].x);
        const float base = Base(batch_max);
        sum *= mma::Exp2(max - base);
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          sum = __fmaf_rn(mma::Exp2(parts[i].x - base), parts[i].y, sum);
        }
        max = batch_max;
      }
      log_sum_exp_[head] = max + log2f(sum);
    }
    __syncwarp();
  }

  __device__ void PoolTile() const {
    const SelectionScores& scores = args_.scores;
    const int heads = args_.rule.heads;
    const PooledHeads pool = {scores.logits + set_ * heads * scores.head_stride + offset_,
                              scores.head_stride, log_sum_exp_ + set_ * heads, heads};
    const int quad = first_token_ / 4 + lane_;
    if (quad * 4 < end_) {
      auto* const keys =
          reinterpret_cast<uint4*>(scores.keys + set_ * scores.head_stride + offset_);
      keys[quad] = args_.rule.softmax_sum ? PoolQuad<true>(pool, head_, end_, quad)
                                          : PoolQuad<false>(pool, head_, end_, quad);
    }
    __syncwarp();
    for (int line = lane_; line < 2 * heads; line += 32) {
      Discard(pool.logits + line / 2 * scores.head_stride + first_token_ + line % 2 * 64);
    }
  }

  const Args& args_;
  float* const log_sum_exp_;
  const int lane_;
  Position at_;
  // Of the row at rank at_.rank + lane_: tokens [head, end) compete.
  int my_row_ = 0, my_head_ = 0, my_end_ = 0;
  RowItems my_items_{};
  int64_t my_offset_ = 0;
  int my_tiles_ = 0, tiles_through_ = 0;
  // Of the tile.
  int row_ = 0, head_ = 0, end_ = 0;
  int first_item_ = 0, num_splits_ = 0;
  int64_t offset_ = 0;
  int set_ = 0, first_token_ = 0;
  int summed_row_ = -1;  // whose log_sum_exp_ is
};

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_POOLING_CUH_
