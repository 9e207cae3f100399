#include "server/config/memory.h"

#include <malloc.h>

#include <new>

#include "server/observe/logging.h"

namespace tidal {
namespace {

constexpr int kLargeBytes = 256 << 10;

}  // namespace

void InitMemory() {
  std::set_new_handler([] { LogLastLine("out of memory: the process ends"); });
  mallopt(M_MMAP_THRESHOLD, kLargeBytes);
}

}  // namespace tidal
