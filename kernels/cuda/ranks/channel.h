// What the kernels between ranks get: where to write for each rank, and where what the others write
// arrives.
//
// A rank's memory has two slots for each rank that writes there, used in turn: one in even epochs,
// one in odd ones. An epoch is one exchange in which every rank gets something from every other. A
// kernel that exchanges begins when the one before it on its channel has ended. So whoever writes
// in epoch e + 2 has got the others' words of epoch e + 1, which they sent after they had read, and
// cleared, all of epoch e: two slots are enough, and nobody has to say that a slot is free.
#ifndef TIDAL_KERNELS_CUDA_RANKS_CHANNEL_H_
#define TIDAL_KERNELS_CUDA_RANKS_CHANNEL_H_

#include <cuda_runtime.h>

#include <cstdint>

namespace tidal::cuda {

inline constexpr int kMaxChannelRanks = 8;

// In device memory, as recorded graphs bring no numbers of their own. Zeroed is ready.
struct ChannelState {
  uint32_t epoch;
  uint32_t blocks_done;  // of the kernel at work
  uint32_t any;          // not 0: it exchanges something
  uint32_t over;         // not 0: nobody waits any more, as the group has failed
};

// One for the main stream's exchanges, one for those of scores. Passed by value.
struct Channel {
  uint4* slots[kMaxChannelRanks];  // of each rank, as this device sees it: [2, ranks, slot_quads]
  int64_t slot_quads;              // of 16 bytes
  int32_t rank, ranks;
  ChannelState* state;           // this rank's
  const uint32_t* group_failed;  // the group's failed_word()
  uint32_t* gave_up;             // in host memory: set by a kernel that has waited too long
  int32_t max_blocks;            // of a kernel that waits
  bool let_next_start;           // may the next kernel's blocks come while this one waits?

  // What rank `from` writes for rank `to`.
  __host__ __device__ uint4* Slot(int32_t to, int32_t from, uint32_t epoch) const {
    return slots[to] + (static_cast<int64_t>(epoch % 2) * ranks + from) * slot_quads;
  }
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_RANKS_CHANNEL_H_
