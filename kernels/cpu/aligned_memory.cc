#include "kernels/cpu/aligned_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace tidal::cpu {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

void* AllocateAligned(size_t bytes) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  if (bytes > SIZE_MAX / 2) return nullptr;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* ptr = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (ptr == nullptr) return nullptr;
  // Advice only: without huge pages the memory works the same.
  if (alignment == kHugePage) (void)madvise(ptr, rounded, MADV_HUGEPAGE);
  // Touches every page now, so that no request pays for it later.
  std::memset(ptr, 0, rounded);
  return ptr;
}

void FreeAligned(void* ptr) { std::free(ptr); }

}  // namespace tidal::cpu
