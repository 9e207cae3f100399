// Scores of token selection made by hand, so that they order exactly whatever the device's
// arithmetic rounds.
#ifndef TIDAL_TESTS_KERNELS_CUDA_SELECTION_CASE_H_
#define TIDAL_TESTS_KERNELS_CUDA_SELECTION_CASE_H_

#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "kernels/attention/params.h"

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
  int32_t num_heads = 4, num_kv_heads = 2, block_size = 16;
  SelectionGranularity granularity = SelectionGranularity::kShared;
  SelectionScore score = SelectionScore::kSoftmaxSum;
  int32_t sinks = 4;
  std::vector<Row> rows;
  Level level;
  int32_t cluster_size = 8;           // by way of the number of multiprocessors
  int32_t extra_max_context_len = 0;  // of the host's copy

  int32_t sets() const { return granularity == SelectionGranularity::kShared ? 1 : num_kv_heads; }
  int32_t heads() const { return num_heads / sets(); }  // of a set

  // Softmax sum: all heads of a set agree, up to their norm, so that sums order as levels do. Max
  // logit: one of them, in turn, has it, the others less or no number. As logits are kept: in 16
  // bits.
  float Logit(int32_t head, float level, int32_t t) const {
    return __half2float(__float2half(ExactLogit(head, level, t)));
  }
  float ExactLogit(int32_t head, float level, int32_t t) const {
    if (score == SelectionScore::kSoftmaxSum) return level + LogSumExp(head);
    if (t % heads() == head % heads()) return level;
    return (t + head) % 5 == 0 ? std::numeric_limits<float>::quiet_NaN() : level - 1.0f;
  }
  float LogSumExp(int32_t head) const { return static_cast<float>(head % 7 - 3); }

  double Pooled(int32_t set, float level, int32_t t) const {
    double pooled =
        score == SelectionScore::kSoftmaxSum ? 0 : -std::numeric_limits<double>::infinity();
    for (int32_t h = set * heads(); h < (set + 1) * heads(); ++h) {
      const float logit = Logit(h, level, t);
      if (score == SelectionScore::kSoftmaxSum) {
        pooled += static_cast<float>(std::exp2(double{logit} - LogSumExp(h)));
      } else if (logit > pooled) {
        pooled = logit;
      }
    }
    return pooled;
  }
};

}  // namespace tidal

#endif  // TIDAL_TESTS_KERNELS_CUDA_SELECTION_CASE_H_
