// An array in the memory of a back end.
#ifndef TIDAL_TESTS_KERNELS_DEVICE_ARRAY_H_
#define TIDAL_TESTS_KERNELS_DEVICE_ARRAY_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "kernels/backend.h"

namespace tidal {

// The back end outlives it.
template <typename T>
class DeviceArray {
 public:
  // Zeros.
  DeviceArray(Backend& backend, size_t size) : backend_(backend), size_(size) {
    data_ = static_cast<T*>(backend.Allocate(size * sizeof(T) + 1));
    EXPECT_NE(data_, nullptr);
  }
  DeviceArray(Backend& backend, const std::vector<T>& host) : DeviceArray(backend, host.size()) {
    Write(host);
  }
  ~DeviceArray() { backend_.Free(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* get() const { return data_; }
  size_t size() const { return size_; }

  void Write(const std::vector<T>& host) {
    backend_.CopyToDevice(data_, host.data(), host.size() * sizeof(T));
  }
  // Waits for the device. A failed operation fails the test.
  std::vector<T> Read() const {
    std::vector<T> host(size_);
    backend_.CopyToHost(host.data(), data_, size_ * sizeof(T));
    EXPECT_EQ(backend_.Synchronize(), "");
    return host;
  }

 private:
  Backend& backend_;
  size_t size_;
  T* data_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_KERNELS_DEVICE_ARRAY_H_
