// A back end's part in its group: the memory that the ranks share, its channels, and what the hosts
// have to agree on.
#ifndef TIDAL_KERNELS_CUDA_RANKS_RANK_CHANNELS_H_
#define TIDAL_KERNELS_CUDA_RANKS_RANK_CHANNELS_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/ranks/channel.h"
#include "kernels/cuda/ranks/peer_memory.h"
#include "kernels/ranks/rank_exchange.h"
#include "kernels/ranks/rank_group.h"

namespace tidal::cuda {

// All ranks call the same in the same order. Not thread-safe. Group and context outlive it.
class RankChannels {
 public:
  RankChannels(RankGroup* group, DeviceContext& context);
  // When the streams have ended.
  ~RankChannels();
  RankChannels(const RankChannels&) = delete;
  RankChannels& operator=(const RankChannels&) = delete;

  // Before anything else. "", or why this rank cannot work with the others.
  std::string Connect();
  // Memory for steps up to `limits`. False when it does not fit on some rank.
  [[nodiscard]] bool Reserve(const BackendLimits& limits);

  const Channel& main() const { return main_; }      // of the context's stream
  const Channel& scores() const { return scores_; }  // of SendScores and CombineScores

  RankExchange& exchange() { return exchange_; }
  // Waits for all ranks: whether it is so on all of them.
  bool AllAgree(bool mine);
  // Where ranks share a process, taking or giving back memory may wait for kernels of all of them,
  // and those wait for each other. So what has been enqueued ends, on all ranks, before anybody
  // does. Elsewhere nothing is to be done.
  void Quieten();

  // Why the group has failed; "" while all is well. Tells it of this device's errors.
  std::string Failure();

 private:
  // What kernels read and write besides the peers' memory.
  bool TakeState();
  // Its slots lie `offset` bytes into each rank's buffer.
  Channel MakeChannel(int index, size_t offset, size_t slot_bytes, int32_t max_blocks) const;

  RankGroup* const group_;
  DeviceContext& context_;
  RankExchange exchange_;
  PeerMemory memory_;
  ChannelState* states_ = nullptr;          // [2], in device memory
  uint32_t* gave_up_ = nullptr;             // in pinned host memory
  void* group_page_ = nullptr;              // of the group's failed_word(), registered with CUDA
  const uint32_t* group_failed_ = nullptr;  // as the device sees it
  Channel main_{}, scores_{};
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_RANKS_RANK_CHANNELS_H_
