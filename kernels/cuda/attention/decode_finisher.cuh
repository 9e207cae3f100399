// The fifth warp of a block: fetches each item's query ahead of the four that compute, and turns
// what they computed into partial results or output. What it waits for (its stores to be seen by
// other blocks) costs the others nothing: they go on with the next item.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_FINISHER_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_FINISHER_CUH_

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/decode_args.h"
#include "kernels/cuda/attention/decode_feed.cuh"
#include "kernels/cuda/attention/decode_l2.cuh"
#include "kernels/cuda/attention/decode_logits.cuh"
#include "kernels/cuda/attention/decode_merge.cuh"
#include "kernels/cuda/attention/decode_pooling.cuh"
#include "kernels/cuda/attention/decode_warp.cuh"
#include "kernels/cuda/attention/phase_barrier.cuh"
#include "kernels/cuda/launch.cuh"

namespace tidal::cuda::decode {

// Between the four warps and the fifth.
struct HandoverBarriers {
  PhaseBarrier query_ready[2];  // the block's next even or odd item is there, and its query
  PhaseBarrier full;            // a round of results is there
  PhaseBarrier empty;           // the fifth warp has read it

  // By one thread, before a __syncthreads().
  __device__ void Init() {
    query_ready[0].Init(1);
    query_ready[1].Init(1);
    full.Init(kWarps);
    empty.Init(1);
  }
};
static_assert(sizeof(HandoverBarriers) == kBarrierBytes);

// What the warps of a block share, behind their rings.
template <int kDim>
struct Handover {
  static constexpr int kRow = kDim + 4;       // floats
  static constexpr int kQueryRow = kDim + 8;  // elements

  float* out;    // [kWarps, kRoundHeads, kRow]
  float2* sums;  // [kWarps, kRoundHeads]: maximum, sum
  bfloat16* q;   // [2, group, kQueryRow]: of the block's even and odd items
  int4* item;    // [2], the items that q belongs to; one without tokens is the end
  int4* pooled;  // how far the fifth warp has pooled scores, at the end
  HandoverBarriers* barriers;
  int group;

  __device__ Handover(unsigned char* memory, int group_heads)
      : out(reinterpret_cast<float*>(memory)),
        sums(reinterpret_cast<float2*>(out + kWarps * kRoundHeads * kRow)),
        q(reinterpret_cast<bfloat16*>(sums + kWarps * kRoundHeads)),
        item(reinterpret_cast<int4*>(q + 2 * group_heads * kQueryRow)),
        pooled(item + 2),
        barriers(reinterpret_cast<HandoverBarriers*>(pooled + 1)),
        group(group_heads) {}

  __device__ bfloat16* QueryOf(int parity) const { return q + parity * group * kQueryRow; }
};

// One of the four warps hands over the results of an item, four heads at a time. *round counts the
// rounds of all its items.
template <int kDim>
__device__ void HandOver(const WarpAttention<kDim>& attention, int group, int warp, int lane,
                         const Handover<kDim>& handover, int* round) {
  for (int first_head = 0; first_head < group; first_head += kRoundHeads, ++*round) {
    if (*round > 0) handover.barriers->empty.Wait(*round - 1);
    const int head = lane / 4 % kRoundHeads;
    if (lane / 16 == first_head / kRoundHeads % 2 && first_head + head < group) {
      float* const out = handover.out + (warp * kRoundHeads + head) * Handover<kDim>::kRow;
      float2* const sums = handover.sums + warp * kRoundHeads + head;
      if (first_head < 8) {
        attention.template Write<0>(out, sums, lane);
      } else {
        attention.template Write<1>(out, sums, lane);
      }
    }
    handover.barriers->full.Arrive();
  }
}

// Where the logits of an item's first token go, in the plane of its group's first head.
__device__ inline __half* LogitsOf(const Args& args, const DecodeItem& item) {
  return args.scores.logits + int64_t{item.kv_head()} * args.group * args.scores.head_stride +
         args.scores.row_begins[item.row()] + item.begin();
}

template <int kDim, Mode kMode>
class Finisher {
 public:
  __device__ Finisher(const Args& args, const Feed<kMode>& feed, const Handover<kDim>& handover,
                      const LogitWindows& windows, ScorePooler* pooler, int lane)
      : args_(args),
        feed_(feed),
        handover_(handover),
        kept_logits_(windows, lane),
        pooler_(pooler),
        lane_(lane) {}

  // All items of the block. An item's query is copied while the item before it is computed.
  //
  // Nothing here waits long for an item: when the four warps have handed over item n - 1, the first
  // has taken item n + 1 (it began when it looked up item n, and has made two steps since).
  __device__ void Run() {
    DecodeItem item = feed_.First();
    WaitForPreviousKernel();
    CopyQuery(item, 0);
    Announce(item, 0);
    if (item.tokens() == 0) return;
    DecodeItem next = feed_.Item(1);
    CopyQuery(next, 1);
    for (int number = 0; item.tokens() > 0; ++number) {
      Announce(next, (number + 1) % 2);
      const DecodeItem after_next = FinishItem(item, next, number);
      item = next;
      next = after_next;
    }
  }

 private:
  static constexpr int kPieces = kDim / 8;  // of 16 bytes, in a row of q
  static constexpr int kQuads = kDim / 4;   // of 4 dims, in a result
  static constexpr int kQuadsPerLane = (kRoundHeads * kQuads + 31) / 32;

  // Starts to copy an item's query to shared memory.
  __device__ void CopyQuery(const DecodeItem& item, int parity) const {
    if (item.tokens() == 0) return;
    const int64_t head = (int64_t{item.row()} * args_.num_kv_heads + item.kv_head()) * args_.group;
    const bfloat16* const q = args_.q + head * kDim;
    const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(handover_.QueryOf(parity)));
    for (int piece = lane_; piece < args_.group * kPieces; piece += 32) {
      const int place = piece / kPieces * Handover<kDim>::kQueryRow + piece % kPieces * 8;
      mma::CopyAsync(to + place * 2, q + piece * 8, true);
    }
    mma::CommitCopies();
  }

  // Tells the four that an item is there, or the end.
  __device__ void Announce(const DecodeItem& item, int parity) const {
    mma::WaitForCopies();
    if (lane_ == 0) handover_.item[parity] = item.words;
    handover_.barriers->query_ready[parity].Arrive();
  }

  // Returns the item after the next, whose query takes this one's place.
  __device__ DecodeItem FinishItem(const DecodeItem& item, const DecodeItem& next, int number) {
    DecodeItem after_next;
    if (kMode == Mode::kScoring && item.sparse()) {
      kept_logits_.StoreItem(item.tokens(), LogitsOf(args_, item), args_.scores.head_stride,
                             [&] { pooler_->Step(); });
    }
    for (int first_head = 0; first_head < args_.group; first_head += kRoundHeads, ++round_) {
      if constexpr (kMode == Mode::kScoring) {
        while (!handover_.barriers->full.HasEndedForWarp(round_)) pooler_->Step();
      } else {
        handover_.barriers->full.Wait(round_);
      }
      if (first_head == 0 && next.tokens() > 0) {
        after_next = feed_.Item(number + 2);
        CopyQuery(after_next, number % 2);
      }
      MergeWarps(item, first_head);
    }
    __syncwarp();
    if (lane_ == 0 && item.num_splits() > 1) {
      CountDone(args_.splits_done + int64_t{item.row()} * args_.num_kv_heads + item.kv_head());
    }
    if (kMode == Mode::kScoring && lane_ == 0 && item.sparse()) {
      CountDone(args_.scores.splits_scored + item.row());
    }
    return after_next;
  }

  // Adds up what the four warps have of kRoundHeads heads.
  __device__ void MergeWarps(const DecodeItem& item, int first_head) {
    const int quads = min(args_.group - first_head, kRoundHeads) * kQuads;
    float maxima[kQuadsPerLane];
    float sums[kQuadsPerLane];
    float4 out[kQuadsPerLane];
#pragma unroll
    for (int i = 0; i < kQuadsPerLane; ++i) {
      const int quad = i * 32 + lane_;
      if (quad >= quads) continue;
      const int head = quad / kQuads;
      const int dim = quad % kQuads * 4;
      float max = -INFINITY;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        max = fmaxf(max, handover_.sums[w * kRoundHeads + head].x);
      }
      Merge merge(max);
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const int row = w * kRoundHeads + head;
        merge.Add(handover_.sums[row], *reinterpret_cast<const float4*>(
                                           handover_.out + row * Handover<kDim>::kRow + dim));
      }
      maxima[i] = max;
      sums[i] = merge.sum;
      out[i] = merge.out;
    }
    handover_.barriers->empty.Arrive();
#pragma unroll
    for (int i = 0; i < kQuadsPerLane; ++i) {
      const int quad = i * 32 + lane_;
      if (quad >= quads) continue;
      const int head = first_head + quad / kQuads;
      const int dim = quad % kQuads * 4;
      if (item.num_splits() == 1) {
        Merge merge(maxima[i]);
        merge.sum = sums[i];
        merge.out = out[i];
        WriteResult<kDim>(args_, item, head, dim, merge);
      }
      const int64_t at = int64_t{item.result()} * args_.group + head;
      if (item.num_splits() > 1) {
        if constexpr (kMode == Mode::kSparse) {
          __stcg(reinterpret_cast<float4*>(args_.partial_out + at * kDim + dim), out[i]);
        } else {
          StoreForSoon(args_.partial_out + at * kDim + dim, out[i]);
        }
      }
      if (dim == 0 && (item.num_splits() > 1 || (kMode == Mode::kScoring && item.sparse()))) {
        __stcg(&args_.partial_sums[at], make_float2(maxima[i], sums[i]));
      }
    }
  }

  const Args& args_;
  FeedOfWarp<kMode> feed_;
  const Handover<kDim>& handover_;
  LogitStorer kept_logits_;
  ScorePooler* const pooler_;  // kScoring only
  const int lane_;
  int round_ = 0;  // of handing over, over all items
};

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_FINISHER_CUH_
