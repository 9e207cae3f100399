// Rows and scores of token selection, made by hand.
#ifndef TIDAL_TESTS_KERNELS_CUDA_SELECTION_CASE_H_
#define TIDAL_TESTS_KERNELS_CUDA_SELECTION_CASE_H_

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace tidal {

template <typename T>
class DeviceVector {
 public:
  explicit DeviceVector(const std::vector<T>& host) : size_(host.size()) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), size_ * sizeof(T) + 1), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, host.data(), size_ * sizeof(T), cudaMemcpyHostToDevice),
              cudaSuccess);
  }
  ~DeviceVector() { cudaFree(data_); }
  DeviceVector(const DeviceVector&) = delete;
  DeviceVector& operator=(const DeviceVector&) = delete;

  T* get() const { return data_; }
  std::vector<T> Read() const {
    std::vector<T> host(size_);
    EXPECT_EQ(cudaMemcpy(host.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost),
              cudaSuccess);
    return host;
  }

 private:
  size_t size_;
  T* data_ = nullptr;
};

struct Row {
  int32_t context_len, budget, recency;
};

// The score of token `t` of a row of `length` tokens.
using Level = std::function<float(int32_t row, int32_t set, int32_t t, int32_t length)>;

struct SelectionCase {
  std::string name;
  int32_t sets = 1, block_size = 16;
  int32_t sinks = 4;
  std::vector<Row> rows;
  Level level;
  int32_t cluster_size = 8;  // by way of the number of multiprocessors
};

}  // namespace tidal

#endif  // TIDAL_TESTS_KERNELS_CUDA_SELECTION_CASE_H_
