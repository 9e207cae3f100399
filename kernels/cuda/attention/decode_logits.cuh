// How a scoring pass keeps the logits of its sparse rows.
//
// They leave the block a window at a time: written as they come, 32 bytes a head and chunk, they
// cost the memory three times as much, each write being a row of its own there. The warps that
// compute fill one of two windows in shared memory while the fifth stores the other.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_LOGITS_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_LOGITS_CUH_

#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/cuda/attention/decode_args.h"
#include "kernels/cuda/attention/decode_l2.cuh"
#include "kernels/cuda/attention/decode_loader.cuh"
#include "kernels/cuda/attention/phase_barrier.cuh"

namespace tidal::cuda::decode {

struct WindowBarriers {
  PhaseBarrier full[2], empty[2];

  // By one thread, before a __syncthreads().
  __device__ void Init() {
    for (int i = 0; i < 2; ++i) {
      full[i].Init(kWarps);
      empty[i].Init(1);
    }
  }
};

static_assert(sizeof(WindowBarriers) == kBarrierBytes);

// The two windows of a block: windows of all its sparse items are counted from 0, and take turns.
struct LogitWindows {
  __half* memory;  // [2, group, pitch]
  WindowBarriers* barriers;
  int group;

  __device__ LogitWindows(unsigned char* shared, int group_heads)
      : memory(reinterpret_cast<__half*>(shared)),
        barriers(reinterpret_cast<WindowBarriers*>(shared + WindowBytes(group_heads))),
        group(group_heads) {}

  __device__ int tokens() const { return WindowTokens(group); }
  __device__ __half* Window(int number) const {
    return memory + number % 2 * group * (tokens() + kWindowPad);
  }
};

// Two logits in 16 bits; what is too large for them becomes the largest number there is.
__device__ inline uint32_t PackLogits(float low, float high) {
  constexpr float kMax = 65504.0f;
  const __half2 packed =
      __floats2half2_rn(fminf(fmaxf(low, -kMax), kMax), fminf(fmaxf(high, -kMax), kMax));
  return *reinterpret_cast<const uint32_t*>(&packed);
}

// The part of one of the four warps.
class LogitWriter {
 public:
  __device__ LogitWriter(const LogitWindows& windows, int lane) : windows_(windows), lane_(lane) {}

  __device__ void Begin() {
    begin_ = 0;
    WaitUntilEmpty();
  }
  // Keeps the logits of the chunk at `token` of the item, numbers past its end included.
  __device__ void Keep(const float (&logits)[2][4], int token) {
    while (token >= begin_ + windows_.tokens()) {
      EndWindow();
      WaitUntilEmpty();
    }
    // Of four neighbouring tokens a lane has two, of the chunk's first and of its second half. It
    // swaps with its neighbour, so that each has all four of one half.
    const bool second = lane_ % 2 == 1;
    __half* const to = windows_.Window(number_) + token - begin_ + 8 * second + lane_ % 4 / 2 * 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (half == 1 && windows_.group <= 8) break;
      const uint32_t mine[2] = {PackLogits(logits[0][2 * half], logits[0][2 * half + 1]),
                                PackLogits(logits[1][2 * half], logits[1][2 * half + 1])};
      const uint32_t other = __shfl_xor_sync(kAllLanes, second ? mine[0] : mine[1], 1);
      const int head = lane_ / 4 + 8 * half;
      if (head < windows_.group) {
        *reinterpret_cast<uint2*>(to + head * (windows_.tokens() + kWindowPad)) =
            second ? make_uint2(other, mine[1]) : make_uint2(mine[0], other);
      }
    }
  }
  // After the last chunk of an item of `tokens` tokens.
  __device__ void End(int tokens) {
    while (true) {
      EndWindow();
      if (begin_ >= tokens) break;
      WaitUntilEmpty();
    }
  }

 private:
  __device__ void WaitUntilEmpty() {
    if (number_ >= 2) windows_.barriers->empty[number_ % 2].Wait(number_ / 2 - 1);
  }
  __device__ void EndWindow() {
    windows_.barriers->full[number_ % 2].Arrive();
    begin_ += windows_.tokens();
    ++number_;
  }

  const LogitWindows& windows_;
  const int lane_;
  int number_ = 0;  // of the window being filled
  int begin_ = 0;   // its first token, within the item
};

// The part of the fifth warp.
class LogitStorer {
 public:
  __device__ LogitStorer(const LogitWindows& windows, int lane) : windows_(windows), lane_(lane) {}

  // All windows of an item of `tokens` tokens. `to`: the group's first plane, at the item's first
  // token; every row's place there ends at a multiple of 16 tokens. Calls while_waiting() as long
  // as a window is not full.
  template <typename WhileWaiting>
  __device__ void StoreItem(int tokens, __half* to, int64_t head_stride,
                            const WhileWaiting& while_waiting) {
    const int window_tokens = windows_.tokens();
    const int pieces_a_head = window_tokens / 8;  // of 16 bytes
    for (int begin = 0; begin < tokens; begin += window_tokens, ++number_) {
      while (!windows_.barriers->full[number_ % 2].HasEndedForWarp(number_ / 2)) while_waiting();
      const __half* const from = windows_.Window(number_);
      const int end = min(window_tokens, (tokens - begin + 15) / 16 * 16);
#pragma unroll 4
      for (int piece = lane_; piece < windows_.group * pieces_a_head; piece += 32) {
        const int head = piece / pieces_a_head;
        const int token = piece % pieces_a_head * 8;
        if (token < end) {
          StoreForSoon(
              to + head * head_stride + begin + token,
              *reinterpret_cast<const uint4*>(from + head * (window_tokens + kWindowPad) + token));
        }
      }
      windows_.barriers->empty[number_ % 2].Arrive();
    }
  }

 private:
  const LogitWindows& windows_;
  const int lane_;
  int number_ = 0;  // of the next window
};

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_LOGITS_CUH_
