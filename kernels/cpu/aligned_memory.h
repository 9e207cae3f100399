// Memory of the CPU back end: aligned to 256 bytes and zeroed; large pieces ask for huge pages,
// because a gather over 4 KiB pages of a cache of gigabytes misses the TLB at every row.
#ifndef TIDAL_KERNELS_CPU_ALIGNED_MEMORY_H_
#define TIDAL_KERNELS_CPU_ALIGNED_MEMORY_H_

#include <cstddef>
#include <memory>

namespace tidal::cpu {

class ThreadPool;

// Null when the memory cannot be had. bytes == 0 gives a valid pointer to nothing. pool: whose
// threads clear it; without one the calling thread does.
void* AllocateAligned(size_t bytes, ThreadPool* pool = nullptr);
void FreeAligned(void* ptr);

// Bytes that the machine, or the control group this process lives in, still has and has in all.
size_t AvailableMemory();
size_t TotalMemory();

struct AlignedDeleter {
  void operator()(void* ptr) const { FreeAligned(ptr); }
};
template <typename T>
using AlignedArray = std::unique_ptr<T[], AlignedDeleter>;

// T must be a plain type for which all bits zero is a value.
template <typename T>
AlignedArray<T> MakeAlignedArray(size_t count) {
  return AlignedArray<T>(static_cast<T*>(AllocateAligned(count * sizeof(T))));
}

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_ALIGNED_MEMORY_H_
