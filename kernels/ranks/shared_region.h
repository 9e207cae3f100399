// Memory that several processes share.
#ifndef TIDAL_KERNELS_RANKS_SHARED_REGION_H_
#define TIDAL_KERNELS_RANKS_SHARED_REGION_H_

#include <cstddef>
#include <memory>

namespace tidal {

// An anonymous file, mapped: zeroed when it is made, and gone with the last process that has it.
// Immutable, so thread-safe; what lies in it is its users' business.
class SharedRegion {
 public:
  // Null when the memory cannot be had.
  static std::unique_ptr<SharedRegion> Create(size_t bytes);
  // Maps what another process made and takes over its descriptor. Null when that is no such file.
  static std::unique_ptr<SharedRegion> Open(int fd);
  ~SharedRegion();
  SharedRegion(const SharedRegion&) = delete;
  SharedRegion& operator=(const SharedRegion&) = delete;

  char* data() const { return data_; }  // aligned to a page
  size_t bytes() const { return bytes_; }
  int fd() const { return fd_; }  // closed by exec, unless the caller passes it on

 private:
  SharedRegion(int fd, char* data, size_t bytes) : fd_(fd), data_(data), bytes_(bytes) {}

  int fd_;
  char* data_;
  size_t bytes_;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_RANKS_SHARED_REGION_H_
