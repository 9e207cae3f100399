// One buffer of each rank, in the memory of its GPU, that the kernels of all ranks read and write.
#ifndef TIDAL_KERNELS_CUDA_RANKS_PEER_MEMORY_H_
#define TIDAL_KERNELS_CUDA_RANKS_PEER_MEMORY_H_

#include <cstddef>
#include <string>
#include <vector>

#include "kernels/cuda/device_context.h"
#include "kernels/ranks/rank_exchange.h"
#include "kernels/ranks/rank_group.h"

namespace tidal::cuda {

// The number of the device that the group's member computes on: the first one is rank 0's, or, with
// `share`, that of all. *error is "", or why it has none.
int DeviceOfRank(const RankGroup& group, int first_device, bool share, std::string* error);

// Between processes by CUDA's handles for other processes, between threads of one process (tests)
// by plain pointers. All ranks call the same in the same order.
class PeerMemory {
 public:
  PeerMemory(RankGroup* group, RankExchange* exchange, DeviceContext& context)
      : group_(group), exchange_(exchange), context_(context) {}
  // When no kernel of another rank uses this rank's buffer any more.
  ~PeerMemory();
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;

  // Finds the GPUs of the others. "" when this one reaches their memory, else why not.
  std::string Connect();
  // Takes a buffer on each rank, every byte 0xff before any rank goes on. False when it does not
  // fit on some rank, or the group has failed.
  [[nodiscard]] bool Reserve(size_t bytes);

  // As this device sees it.
  char* of(int rank) const { return buffers_[rank]; }
  // With another rank.
  bool shares_device() const { return shares_device_; }
  bool shares_process() const { return shares_process_; }
  bool shares_context() const { return shares_context_; }  // device and process

 private:
  bool Open(int rank, const void* offer);

  RankGroup* const group_;
  RankExchange* const exchange_;
  DeviceContext& context_;
  bool shares_device_ = false, shares_process_ = false, shares_context_ = false;
  std::vector<bool> same_process_;
  std::vector<char*> buffers_;  // [ranks]
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_RANKS_PEER_MEMORY_H_
