// Words between ranks. A word says itself that it has come: its place held kAbsent before, which is
// never sent. So there are no flags and no fences, and one way over the link is all that a word
// takes; and memory is as wide as what is sent.
//
// Four words at a time, by one store. Should it come in parts, each word still speaks for itself.
#ifndef TIDAL_KERNELS_CUDA_RANKS_PEER_WORDS_CUH_
#define TIDAL_KERNELS_CUDA_RANKS_PEER_WORDS_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/ranks/channel.h"

namespace tidal::cuda {

// As a float, a NaN that no operation makes.
inline constexpr uint32_t kAbsent = 0xffffffffu;

__device__ inline void Send(uint4* to, const uint4& words) {
  asm volatile("st.relaxed.sys.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(words.x),
               "r"(words.y), "r"(words.z), "r"(words.w)
               : "memory");
}

__device__ inline uint4 Look(const uint4* at) {
  uint4 words;
  asm volatile("ld.relaxed.sys.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
               : "l"(at)
               : "memory");
  return words;
}

__device__ inline bool HasCome(const uint4& words) {
  return words.x != kAbsent && words.y != kAbsent && words.z != kAbsent && words.w != kAbsent;
}

// The place can be written again.
__device__ inline void Clear(uint4* at) { Send(at, {kAbsent, kAbsent, kAbsent, kAbsent}); }

// A kernel's part in an epoch. All threads of all blocks make one, when the kernel before has
// ended.
class Epoch {
 public:
  __device__ explicit Epoch(const Channel& channel)
      : channel_(channel),
        number_(*const_cast<const volatile uint32_t*>(&channel.state->epoch)),
        over_(*const_cast<const volatile uint32_t*>(&channel.state->over) != 0) {}

  // Where this rank writes for another, and where what another wrote is.
  __device__ uint4* Outbox(int32_t to) const { return channel_.Slot(to, channel_.rank, number_); }
  __device__ uint4* Inbox(int32_t from) const {
    return channel_.Slot(channel_.rank, from, number_);
  }

  // After a look in vain: is it worth another?
  __device__ bool LookAgain() {
    if (!over_ && ++looks_ % kLooksAtState == 0) LookAtGroup();
    return !over_;
  }

  // Once a block, when all its threads have made an Epoch. What they wait for may still be under
  // way: the next kernel finds the next number, which no thread of this one needs.
  __device__ void Arrive() const {
    __syncthreads();
    if (threadIdx.x != 0) return;
    ChannelState* const state = channel_.state;
    if (atomicAdd(&state->blocks_done, 1u) != gridDim.x - 1) return;
    state->blocks_done = 0;
    state->epoch = number_ + 1;
  }
  // The same for a kernel that may have nothing to exchange: then it is no epoch. `any`: whether
  // this block had; that some block had is so on all ranks or on none.
  __device__ void Arrive(bool any) const {
    __syncthreads();
    if (threadIdx.x != 0) return;
    ChannelState* const state = channel_.state;
    if (any) atomicExch(&state->any, 1u);
    __threadfence();
    if (atomicAdd(&state->blocks_done, 1u) != gridDim.x - 1) return;
    state->blocks_done = 0;
    if (atomicExch(&state->any, 0u) != 0) state->epoch = number_ + 1;
  }

 private:
  // A look takes some 0.5 us. The host's memory is far, and many threads look.
  static constexpr uint32_t kLooksAtState = 256, kLooksAtHost = 64 * kLooksAtState;
  static constexpr uint64_t kPatience = 300'000'000'000;  // ns

  __device__ void LookAtGroup() {
    ChannelState* const state = channel_.state;
    over_ = *const_cast<const volatile uint32_t*>(&state->over) != 0;
    if (over_ || looks_ % kLooksAtHost != 0) return;
    uint64_t now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    if (began_ == 0) began_ = now;
    const bool failed = *const_cast<const volatile uint32_t*>(channel_.group_failed) != 0;
    if (!failed && now - began_ < kPatience) return;
    if (!failed) *const_cast<volatile uint32_t*>(channel_.gave_up) = 1;
    *const_cast<volatile uint32_t*>(&state->over) = 1;
    over_ = true;
  }

  const Channel& channel_;
  const uint32_t number_;
  bool over_;
  uint32_t looks_ = 0;
  uint64_t began_ = 0;
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_RANKS_PEER_WORDS_CUH_
