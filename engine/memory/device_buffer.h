// Memory of a back end with an owner.
#ifndef TIDAL_ENGINE_MEMORY_DEVICE_BUFFER_H_
#define TIDAL_ENGINE_MEMORY_DEVICE_BUFFER_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "kernels/device.h"

namespace tidal {

// Movable. The back end outlives it.
class DeviceBuffer {
 public:
  // Zeroed. RESOURCE_EXHAUSTED names `what` and the bytes.
  static absl::StatusOr<DeviceBuffer> Allocate(Device* device, int64_t bytes, const char* what) {
    void* data = bytes > 0 ? device->Allocate(static_cast<size_t>(bytes)) : nullptr;
    if (bytes > 0 && !data) {
      return absl::ResourceExhaustedError(absl::StrCat(
          what, ": ", bytes, " bytes do not fit into the memory of ", device->info().name));
    }
    return DeviceBuffer(device, data, bytes);
  }

  DeviceBuffer() = default;
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : device_(other.device_),
        data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceBuffer() {
    if (data_) device_->Free(data_);
  }

  template <typename T>
  T* As() const {
    return static_cast<T*>(data_);
  }
  int64_t bytes() const { return bytes_; }

 private:
  DeviceBuffer(Device* device, void* data, int64_t bytes)
      : device_(device), data_(data), bytes_(bytes) {}

  Device* device_ = nullptr;
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_MEMORY_DEVICE_BUFFER_H_
