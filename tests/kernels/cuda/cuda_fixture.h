// A test of the CUDA back end. Skips, visibly, where there is no device.
#ifndef TIDAL_TESTS_KERNELS_CUDA_CUDA_FIXTURE_H_
#define TIDAL_TESTS_KERNELS_CUDA_CUDA_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/cuda_backend.h"

namespace tidal {

// An array in device memory. The back end outlives it.
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

class CudaFixture : public testing::Test {
 protected:
  void SetUp() override {
    std::string error;
    backend_ = MakeCudaBackend({}, &error);
    if (backend_ == nullptr) GTEST_SKIP() << "no CUDA device here: " << error;
  }
  void TearDown() override {
    if (backend_ != nullptr) {
      EXPECT_EQ(backend_->Synchronize(), "");
    }
  }

  std::unique_ptr<Backend> backend_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_KERNELS_CUDA_CUDA_FIXTURE_H_
