// Copies between pageable host memory and the device through pinned memory, so that they are
// asynchronous and as fast as the bus.
#ifndef TIDAL_KERNELS_CUDA_HOST_STAGING_H_
#define TIDAL_KERNELS_CUDA_HOST_STAGING_H_

#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/device_context.h"

namespace tidal::cuda {

// Two halves of pinned memory, filled in turn; a half is used again when the copies through it are
// done. Tickets are numbers counted up. Not thread-safe. The context outlives it.
class HostStaging {
 public:
  explicit HostStaging(DeviceContext& context) : context_(context) {}
  ~HostStaging();
  HostStaging(const HostStaging&) = delete;
  HostStaging& operator=(const HostStaging&) = delete;

  // Takes the pinned memory. False when there is none.
  [[nodiscard]] bool Reserve();

  // Enqueues; the source may change when the call returns.
  void ToDevice(void* dst, const void* host_src, size_t bytes);
  // Enqueues; the copy is there after Wait() for the next ticket.
  void ToHost(void* host_dst, const void* src, size_t bytes);

  // Names everything that the stream has been given so far.
  Ticket Submit();
  // Waits for that and hands out what ToHost() promised before it.
  void Wait(Ticket ticket);

 private:
  // A copy from the device that has arrived in pinned memory, or will.
  struct Arrival {
    void* dst;
    const void* pinned;
    size_t bytes;
    Ticket ticket;
  };
  struct Half {
    char* memory = nullptr;
    size_t used = 0;
    cudaEvent_t done = nullptr;     // of the last copy through it
    std::vector<Arrival> arrivals;  // in the order of their tickets
  };

  // Enqueues a copy from or to pinned memory.
  void Copy(void* dst, const void* src, size_t bytes, const char* operation);
  // Room for up to `bytes`, at least one; *bytes is what there is.
  char* Take(size_t* bytes);
  // Copies to the host that come with `ticket` or one before it.
  static void HandOut(Ticket ticket, Half& half);

  DeviceContext& context_;
  Half halves_[2];
  int current_ = 0;
  // Of the latest tickets, in turn. One that stands for a later ticket by now waits too long, never
  // too short.
  std::array<cudaEvent_t, 4> submitted_ = {};
  Ticket next_ticket_ = 0;
  bool enqueued_since_submit_ = false;
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_HOST_STAGING_H_
