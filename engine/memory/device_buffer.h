// Memory of a back end with an owner.
#ifndef TIDAL_ENGINE_MEMORY_DEVICE_BUFFER_H_
#define TIDAL_ENGINE_MEMORY_DEVICE_BUFFER_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "kernels/backend.h"

namespace tidal {

// Movable. The back end outlives it.
class DeviceBuffer {
 public:
  // Zeroed. RESOURCE_EXHAUSTED names `what` and the bytes.
  static absl::StatusOr<DeviceBuffer> Allocate(Backend* backend, int64_t bytes, const char* what) {
    void* data = bytes > 0 ? backend->Allocate(static_cast<size_t>(bytes)) : nullptr;
    if (bytes > 0 && !data) {
      return absl::ResourceExhaustedError(absl::StrCat(
          what, ": ", bytes, " bytes do not fit into the memory of ", backend->info().name));
    }
    return DeviceBuffer(backend, data, bytes);
  }

  DeviceBuffer() = default;
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : backend_(other.backend_),
        data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(backend_, other.backend_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceBuffer() {
    if (data_) backend_->Free(data_);
  }

  template <typename T>
  T* As() const {
    return static_cast<T*>(data_);
  }
  int64_t bytes() const { return bytes_; }

 private:
  DeviceBuffer(Backend* backend, void* data, int64_t bytes)
      : backend_(backend), data_(data), bytes_(bytes) {}

  Backend* backend_ = nullptr;
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_MEMORY_DEVICE_BUFFER_H_
