// Which items a block works on: two that are fixed, then whatever is next in the list when it comes
// to need one (Deal). So blocks that are fast do more.
//
// The loader of the block's first warp takes the items, ahead of its copies, and puts them into a
// ring in shared memory, where the other warps find them.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_FEED_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_FEED_CUH_

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/attention/decode_args.h"
#include "kernels/cuda/attention/phase_barrier.cuh"

namespace tidal::cuda::decode {

// The block's items but the first, in turn. Places are used again without asking, as no reader can
// be so far behind: a warp that computes item n knows that all have handed over item n - 2, and
// takes no item beyond n + kMaxStages + 2 (every item has a chunk for every warp, kMaxStages chunks
// are on their way, and two items are looked up ahead).
inline constexpr int kRingItems = 16;
static_assert(kRingItems >= 2 + kMaxStages + 2);
struct ItemRing {
  int4 items[kRingItems];
  PhaseBarrier there[kRingItems];

  // Of item `number` >= 1.
  __device__ static int Place(int number) { return (number - 1) % kRingItems; }
  __device__ static int Phase(int number) { return (number - 1) / kRingItems; }

  // By all threads, before a __syncthreads().
  __device__ void Init() {
    if (threadIdx.x < kRingItems) there[threadIdx.x].Init(1);
  }
};
static_assert(Deal::kFixed == 2);  // TakeFixed() takes the second of them
static_assert(sizeof(ItemRing) == kRingBytes && kThreads >= kRingItems);

// For all warps: what the block's items are.
class ItemFeed {
 public:
  __device__ ItemFeed(const Args& args, int item_count, ItemRing* ring)
      : args_(args), deal_{item_count, static_cast<int32_t>(gridDim.x)}, ring_(ring) {}

  // Item 0, from the list. No tokens: the block has none.
  __device__ DecodeItem First() const {
    // The list is as long as the grid: loaded before the count is there.
    const int4 words = *reinterpret_cast<const int4*>(args_.items + blockIdx.x);
    return HasNone(0) ? DecodeItem{} : DecodeItem{words};
  }
  // Item `number` >= 1; all before it had tokens. Waits until it has been taken. No tokens: there
  // are no more.
  __device__ DecodeItem Item(int number) const {
    if (HasNone(number)) return {};
    const int place = ItemRing::Place(number);
    ring_->there[place].Wait(ItemRing::Phase(number));
    return {ring_->items[place]};
  }

 private:
  friend class ItemTaker;
  __device__ bool HasNone(int number) const {
    return deal_.HasNone(static_cast<int32_t>(blockIdx.x), number);
  }

  const Args& args_;
  const Deal deal_;
  ItemRing* const ring_;
};

// The same for one warp where no item is drawn: sparse attention reads little, and what matters is
// how soon it starts; scoring ends with pooling, which keeps the blocks that are fast busy. All
// items are fixed by their place in the list; each is loaded when the one before is asked for.
class FixedFeed {
 public:
  __device__ FixedFeed(const Args& args, int item_count) : args_(args), item_count_(item_count) {}

  // In turn: First(), Item(1), Item(2), ..
  __device__ DecodeItem First() {
    const int4 words = *reinterpret_cast<const int4*>(args_.items + blockIdx.x);
    coming_ = At(1);
    return static_cast<int>(blockIdx.x) < item_count_ ? DecodeItem{words} : DecodeItem{};
  }
  __device__ DecodeItem Item(int number) {
    const DecodeItem item = coming_;
    coming_ = At(number + 1);
    return item;
  }

 private:
  __device__ DecodeItem At(int number) const {
    const int index = static_cast<int>(blockIdx.x) + number * static_cast<int>(gridDim.x);
    if (index >= item_count_) return {};
    return {*reinterpret_cast<const int4*>(args_.items + index)};
  }

  const Args& args_;
  const int item_count_;
  DecodeItem coming_;
};

template <Mode kMode>
inline constexpr bool kDealt = kMode == Mode::kDense;
// A warp's own is a copy where the items are fixed.
template <Mode kMode>
using Feed = std::conditional_t<kDealt<kMode>, ItemFeed, FixedFeed>;
template <Mode kMode>
using FeedOfWarp = std::conditional_t<kDealt<kMode>, const ItemFeed&, FixedFeed>;

template <Mode kMode>
__device__ inline Feed<kMode> MakeFeed(const Args& args, ItemRing* ring) {
  if constexpr (kDealt<kMode>) {
    return ItemFeed(args, *args.item_count, ring);
  } else {
    return FixedFeed(args, *args.item_count);
  }
}

// For one warp: takes the items. Each arrives in steps, between which the warp does something else
// while memory answers; `number` is that of the item under way.
class ItemTaker {
 public:
  __device__ ItemTaker(const ItemFeed& feed, int lane) : feed_(feed), lane_(lane) {}

  // Begins to take item 1, if there is one.
  __device__ void TakeFixed() {
    if (feed_.HasNone(1)) return;
    if (lane_ == 0) {
      words_ = ListItem(feed_.deal_.FixedIndex(static_cast<int32_t>(blockIdx.x), 1));
    }
    state_ = State::kLoaded;
  }
  // Begins to take item `number` >= 2, or to find that there is none.
  __device__ void Take(int number) {
    if (feed_.HasNone(number)) return;
    if (lane_ == 0) words_.x = atomicAdd(feed_.args_.items_drawn, 1);
    state_ = State::kDrawn;
  }
  // Does one step, if an item is under way: it is in the ring after two.
  __device__ void Step(int number) {
    if (state_ == State::kDrawn) {
      if (lane_ == 0) LoadDrawn();
      state_ = State::kLoaded;
    } else if (state_ == State::kLoaded) {
      const int place = ItemRing::Place(number);
      if (lane_ == 0) feed_.ring_->items[place] = words_;
      feed_.ring_->there[place].Arrive();
      state_ = State::kIdle;
    }
  }
  // If an item is under way, it is in the ring afterwards.
  __device__ void Finish(int number) {
    while (state_ != State::kIdle) Step(number);
  }

 private:
  enum class State : uint8_t { kIdle, kDrawn, kLoaded };

  __device__ int4 ListItem(int32_t index) const {
    return *reinterpret_cast<const int4*>(feed_.args_.items + index);
  }
  __device__ void LoadDrawn() {
    const int32_t drawn = words_.x;
    if (feed_.deal_.IsLastDraw(drawn)) *feed_.args_.items_drawn = 0;  // for the next operation
    const int32_t index = feed_.deal_.DrawnIndex(drawn);
    words_ = make_int4(0, 0, 0, 0);
    if (index < feed_.deal_.items) words_ = ListItem(index);
  }

  const ItemFeed& feed_;
  const int lane_;
  int4 words_ = {0, 0, 0, 0};  // of lane 0: x is the number drawn, then all are the item
  State state_ = State::kIdle;
};

// Where items are fixed.
struct NoTaker {
  __device__ NoTaker(const FixedFeed&, int /*lane*/) {}
  __device__ void TakeFixed() {}
  __device__ void Take(int) {}
  __device__ void Step(int) {}
  __device__ void Finish(int) {}
};

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_FEED_CUH_
