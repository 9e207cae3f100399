// The hardware itself: memory, copies, waiting, replay.
#ifndef TIDAL_KERNELS_DEVICE_H_
#define TIDAL_KERNELS_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/types.h"

namespace tidal {

struct DeviceInfo {
  std::string name;   // "AMD EPYC, 2 threads, avx512_bf16"
  DType matmul_type;  // type of what enters a matrix product
  // Operations run while the host goes on, so it pays to enqueue a step before the last has ended.
  bool asynchronous = false;
  // Its memory is the machine's own, which others use too: nothing takes a share of it unasked.
  bool shares_host_memory = false;
};

struct DeviceMemory {
  int64_t free_bytes, total_bytes;
};

// Names a recorded step: steps with equal keys run the same operations on the same pointers with
// the same host numbers, whatever device memory holds.
using GraphKey = uint64_t;

// Names all work enqueued before a Submit().
using Ticket = uint64_t;

// Operations are enqueued in order, run in that order, and may run later; Submit() names what has
// been enqueued, Wait() waits for it. An operation that the hardware fails makes the device fail
// for good: Wait() then names it. Not thread-safe: one thread drives a device.
class Device {
 public:
  virtual ~Device() = default;

  virtual const DeviceInfo& info() const = 0;

  // Memory, aligned to 256 bytes, zeroed. Null when it does not fit.
  virtual void* Allocate(size_t bytes) = 0;
  virtual void Free(void* ptr) = 0;
  virtual DeviceMemory memory() const = 0;
  // Bytes per second of a plain read of memory far larger than the caches: what the bounds of
  // benchmarks are made of. 0 when there is no memory to measure with.
  virtual double MeasureReadBandwidth() = 0;
  // The source may change as soon as the call returns.
  virtual void CopyToDevice(void* dst, const void* host_src, size_t bytes) = 0;
  // The copy is there after Wait() for a later Submit(); until then `host_dst` stays writable.
  virtual void CopyToHost(void* host_dst, const void* src, size_t bytes) = 0;
  // Normal numbers of the given deviation: a pure function of (seed, index).
  virtual void FillRandom(bfloat16* dst, int64_t count, uint64_t seed, float deviation) = 0;

  virtual Ticket Submit() = 0;
  // Waits for the work that `ticket` names; work enqueued later may still run. Empty when no
  // operation is known to have failed, else the failed operation and the reason.
  [[nodiscard]] virtual std::string Wait(Ticket ticket) = 0;
  // Waits for everything.
  [[nodiscard]] std::string Synchronize() { return Wait(Submit()); }

  // Replay. A device without graphs has none to run and records nothing.
  virtual bool supports_graphs() const { return false; }
  // Runs what was recorded under `key`; false when nothing was.
  virtual bool RunGraph(GraphKey /*key*/) { return false; }
  // Operations between these two are recorded under `key` and run once, by EndGraph(). Between them
  // no memory is taken and nothing is copied from or to the host. EndGraph() says why they could
  // not be recorded, and then they have not run; else nothing.
  virtual void BeginGraph(GraphKey /*key*/) {}
  [[nodiscard]] virtual std::string EndGraph() { return "the device has no graphs"; }
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_DEVICE_H_
