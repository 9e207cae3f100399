#include "kernels/cpu/aligned_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace tidal::cpu {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kCheckedBytes = size_t{64} << 20;
constexpr size_t kBytesPerThread = size_t{64} << 20;

// The first number of a file, times `unit`; SIZE_MAX where there is none ("max").
size_t ReadNumber(const char* path, const char* key, size_t unit) {
  std::ifstream file(path);
  std::string word;
  if (*key != '\0') {
    while (file >> word && word != key) {
    }
  }
  size_t number = 0;
  return file >> number ? number * unit : SIZE_MAX;
}

// Touches every page now, so that no request pays for it later. That is most of a start: the system
// clears pages, and on a virtual machine may have to find them first. So all processors do it.
void Clear(char* data, size_t bytes) {
  const size_t num_threads =
      std::min<size_t>(bytes / kBytesPerThread, std::thread::hardware_concurrency());
  const size_t share = num_threads < 2 ? bytes : bytes / num_threads / kHugePage * kHugePage;
  std::vector<std::thread> threads;
  size_t begin = 0;
  for (; threads.size() + 1 < num_threads; begin += share) {
    threads.emplace_back([=] { std::memset(data + begin, 0, share); });
  }
  std::memset(data + begin, 0, bytes - begin);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

size_t AvailableMemory() {
  const size_t machine = ReadNumber("/proc/meminfo", "MemAvailable:", 1024);
  const size_t limit = ReadNumber("/sys/fs/cgroup/memory.max", "", 1);
  const size_t used = ReadNumber("/sys/fs/cgroup/memory.current", "", 1);
  const size_t cached = ReadNumber("/sys/fs/cgroup/memory.stat", "file", 1);
  if (limit == SIZE_MAX || used == SIZE_MAX) return machine;
  const size_t reclaimable = cached == SIZE_MAX ? 0 : std::min(cached, used);
  const size_t taken = used - reclaimable;
  return std::min(machine, limit > taken ? limit - taken : 0);
}

size_t TotalMemory() {
  return std::min(ReadNumber("/proc/meminfo", "MemTotal:", 1024),
                  ReadNumber("/sys/fs/cgroup/memory.max", "", 1));
}

void* AllocateAligned(size_t bytes) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  if (bytes > SIZE_MAX / 2) return nullptr;
  // Linux promises more memory than there is and kills the process that touches it.
  if (bytes >= kCheckedBytes && bytes > AvailableMemory()) return nullptr;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* ptr = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (ptr == nullptr) return nullptr;
  // Advice only: without huge pages the memory works the same.
  if (alignment == kHugePage) (void)madvise(ptr, rounded, MADV_HUGEPAGE);
  Clear(static_cast<char*>(ptr), rounded);
  return ptr;
}

void FreeAligned(void* ptr) { std::free(ptr); }

}  // namespace tidal::cpu
