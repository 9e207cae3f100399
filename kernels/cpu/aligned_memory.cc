#include "kernels/cpu/aligned_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "kernels/cpu/thread_pool.h"

namespace tidal::cpu {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kCheckedBytes = size_t{64} << 20;
constexpr size_t kClearedAtATime = 8 * kHugePage;

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

void* AllocateAligned(size_t bytes, ThreadPool* pool) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  if (bytes > SIZE_MAX / 2) return nullptr;
  // Linux promises more memory than there is and kills the process that touches it.
  if (bytes >= kCheckedBytes && bytes > AvailableMemory()) return nullptr;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* ptr = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (ptr == nullptr) return nullptr;
  // Advice only: without huge pages the memory works the same.
  if (alignment == kHugePage) (void)madvise(ptr, rounded, MADV_HUGEPAGE);
  // Touches every page now, so that no request pays for it later. That is most of a start: the
  // system clears pages, and on a virtual machine may have to find them first.
  if (pool == nullptr) {
    std::memset(ptr, 0, rounded);
    return ptr;
  }
  const auto parts = static_cast<int32_t>((rounded + kClearedAtATime - 1) / kClearedAtATime);
  pool->ParallelFor(parts, [&](int32_t part, int /*worker*/) {
    const size_t begin = part * kClearedAtATime;
    std::memset(static_cast<char*>(ptr) + begin, 0, std::min(kClearedAtATime, rounded - begin));
  });
  return ptr;
}

void FreeAligned(void* ptr) { std::free(ptr); }

}  // namespace tidal::cpu
