#include "kernels/ranks/shared_region.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tidal {
namespace {

char* Map(int fd, size_t bytes) {
  void* const data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return data == MAP_FAILED ? nullptr : static_cast<char*>(data);
}

}  // namespace

std::unique_ptr<SharedRegion> SharedRegion::Create(size_t bytes) {
  const int fd = memfd_create("tidal-ranks", MFD_CLOEXEC);
  if (fd < 0) return nullptr;
  char* const data = ftruncate(fd, static_cast<off_t>(bytes)) == 0 ? Map(fd, bytes) : nullptr;
  if (data == nullptr) {
    close(fd);
    return nullptr;
  }
  return std::unique_ptr<SharedRegion>(new SharedRegion(fd, data, bytes));
}

std::unique_ptr<SharedRegion> SharedRegion::Open(int fd) {
  struct stat file = {};
  if (fstat(fd, &file) != 0 || file.st_size <= 0) return nullptr;
  const auto bytes = static_cast<size_t>(file.st_size);
  char* const data = Map(fd, bytes);
  if (data == nullptr) return nullptr;
  return std::unique_ptr<SharedRegion>(new SharedRegion(fd, data, bytes));
}

SharedRegion::~SharedRegion() {
  munmap(data_, bytes_);
  close(fd_);
}

}  // namespace tidal
