#include "kernels/cuda/ranks/peer_memory.h"

#include <cuda_runtime.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/cuda/ranks/channel.h"

namespace tidal::cuda {
namespace {

// Smaller allocations share a piece of memory with others, all of which a handle would give away.
constexpr size_t kGranularity = size_t{2} << 20;

// Where a rank runs.
struct Place {
  int32_t process;
  int32_t device;   // as its process numbers them
  char bus_id[32];  // of the GPU, on this host
};

// A rank's buffer.
struct Offer {
  uint64_t bytes;  // 0: it does not fit
  char* pointer;   // for its own process
  cudaIpcMemHandle_t handle;
};

template <typename T>
bool ExchangeAll(RankExchange& exchange, const T& mine, std::vector<T>* all) {
  all->resize(exchange.num_ranks());
  return exchange.Run(&mine, sizeof(T), [&](const char* const* pieces, size_t, size_t) {
    for (size_t i = 0; i < all->size(); ++i) std::memcpy(&(*all)[i], pieces[i], sizeof(T));
  });
}

}  // namespace

int DeviceOfRank(const RankGroup& group, int first_device, bool share, std::string* error) {
  error->clear();
  const std::string got = ", got " + std::to_string(group.size());
  if (group.size() > kMaxChannelRanks) {
    *error = "tensor_parallel_size: must be at most " + std::to_string(kMaxChannelRanks) +
             " on GPUs" + got;
    return 0;
  }
  if (share) return first_device;
  int devices = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&devices); status != cudaSuccess) {
    cudaGetLastError();  // forgets it
    *error = std::string("device: ") + cudaGetErrorName(status) + ", " + cudaGetErrorString(status);
    return 0;
  }
  if (first_device + group.size() > devices) {
    *error = "tensor_parallel_size: must be at most " +
             std::to_string(std::max(devices - first_device, 0)) + ", the number of GPUs" +
             (first_device > 0 ? " from cuda_device on" : "") + got;
    return 0;
  }
  return first_device + group.rank();
}

PeerMemory::~PeerMemory() {
  for (int rank = 0; rank < static_cast<int>(buffers_.size()); ++rank) {
    if (buffers_[rank] == nullptr) continue;
    if (rank == group_->rank()) {
      cudaFree(buffers_[rank]);
    } else if (!same_process_[rank]) {
      cudaIpcCloseMemHandle(buffers_[rank]);
    }
  }
}

std::string PeerMemory::Connect() {
  Place mine = {getpid(), context_.device, {}};
  if (!context_.Check(cudaDeviceGetPCIBusId(mine.bus_id, sizeof(mine.bus_id), context_.device),
                      "device")) {
    return context_.error;
  }
  std::vector<Place> places;
  if (!ExchangeAll(*exchange_, mine, &places)) return group_->failure();
  same_process_.resize(places.size());  // of this rank itself it stays false
  for (int rank = 0; rank < group_->size(); ++rank) {
    if (rank == group_->rank()) continue;
    const Place& place = places[rank];
    const std::string of_rank =
        "GPU " + std::string(place.bus_id) + " of rank " + std::to_string(rank);
    same_process_[rank] = place.process == mine.process;
    shares_process_ |= same_process_[rank];
    if (std::strcmp(place.bus_id, mine.bus_id) == 0) {
      shares_device_ = true;
      shares_context_ |= same_process_[rank];
      continue;
    }
    int device = 0, reaches = 0;
    if (cudaDeviceGetByPCIBusId(&device, place.bus_id) != cudaSuccess) {
      cudaGetLastError();  // forgets it
      return of_rank + " is not visible to rank " + std::to_string(group_->rank()) +
             ": every rank has to see the GPUs of all (CUDA_VISIBLE_DEVICES)";
    }
    if (!context_.Check(cudaDeviceCanAccessPeer(&reaches, context_.device, device), "peers")) {
      return context_.error;
    }
    if (reaches == 0) {
      return "GPU " + std::string(mine.bus_id) + " cannot reach the memory of " + of_rank +
             ": ranks need NVLink or peer access over PCIe between their GPUs";
    }
    // Of other processes' memory, opening its handle says so.
    if (!same_process_[rank]) continue;
    const cudaError_t status = cudaDeviceEnablePeerAccess(device, 0);
    if (status == cudaErrorPeerAccessAlreadyEnabled) {
      cudaGetLastError();  // forgets it
    } else if (!context_.Check(status, "peers")) {
      return context_.error;
    }
  }
  return "";
}

bool PeerMemory::Reserve(size_t bytes) {
  Offer mine = {};
  void* memory = nullptr;
  const size_t taken = (bytes + kGranularity - 1) / kGranularity * kGranularity;
  if (cudaMalloc(&memory, taken) != cudaSuccess) {
    cudaGetLastError();  // an answer, not a broken device
    memory = nullptr;
  }
  buffers_.assign(group_->size(), nullptr);
  buffers_[group_->rank()] = static_cast<char*>(memory);
  if (memory != nullptr &&
      context_.Check(cudaMemsetAsync(memory, 0xff, taken, context_.stream), "peer memory") &&
      context_.Check(cudaStreamSynchronize(context_.stream), "peer memory")) {
    mine.bytes = bytes;
    mine.pointer = static_cast<char*>(memory);
    const bool others = std::count(same_process_.begin(), same_process_.end(), false) > 1;
    if (others && !context_.Check(cudaIpcGetMemHandle(&mine.handle, memory), "peer memory")) {
      mine.bytes = 0;
    }
  }
  std::vector<Offer> offers;
  if (!ExchangeAll(*exchange_, mine, &offers)) return false;
  for (const Offer& offer : offers) {
    if (offer.bytes == bytes) continue;
    if (offer.bytes != 0) group_->Fail(group_->rank(), "the ranks' buffers differ in size");
    return false;
  }
  bool opened = true;
  for (int rank = 0; rank < group_->size() && opened; ++rank) {
    if (rank != group_->rank()) opened = Open(rank, &offers[rank]);
  }
  if (!opened) group_->Fail(group_->rank(), context_.error);
  std::vector<int32_t> all;
  return ExchangeAll(*exchange_, int32_t{opened}, &all);  // nobody writes before all have cleared
}

bool PeerMemory::Open(int rank, const void* offer_of_rank) {
  const Offer& offer = *static_cast<const Offer*>(offer_of_rank);
  if (same_process_[rank]) {
    buffers_[rank] = offer.pointer;
    return true;
  }
  void* memory = nullptr;
  const bool opened = context_.Check(
      cudaIpcOpenMemHandle(&memory, offer.handle, cudaIpcMemLazyEnablePeerAccess), "peer memory");
  if (opened) buffers_[rank] = static_cast<char*>(memory);
  return opened;
}

}  // namespace tidal::cuda
