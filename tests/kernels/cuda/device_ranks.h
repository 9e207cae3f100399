// Ranks of one process, on one GPU where there are not as many, for the tests of what is between
// ranks.
#ifndef TIDAL_TESTS_KERNELS_CUDA_DEVICE_RANKS_H_
#define TIDAL_TESTS_KERNELS_CUDA_DEVICE_RANKS_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/device_array.h"
#include "tests/support/test_group.h"

namespace tidal {

// What a back end of a rank needs to be reserved for; slots of 1 MiB.
inline BackendLimits RankLimits() {
  BackendLimits limits;
  limits.vocab_size = 64;
  limits.hidden_size = 64;
  limits.num_heads = limits.num_kv_heads = 1;
  limits.head_dim = 16;
  limits.max_tokens = limits.max_decode_rows = limits.max_sampled_rows = 16;
  limits.max_context_len = 64;
  limits.block_size = 16;
  return limits;
}

// A rank has a GPU of its own where there are enough. Null, with the reason, where it has none.
inline std::unique_ptr<Backend> MakeRankBackend(RankGroup* group, std::string* error) {
  std::unique_ptr<Backend> backend = MakeCudaBackend({.group = group}, error);
  if (backend != nullptr || group->failed()) return backend;
  return MakeCudaBackend({.group = group, .share_device = true}, error);
}

class DeviceRanks {
 public:
  explicit DeviceRanks(int size) : groups_(MakeTestGroup(size, true)), backends_(size) {
    OnEachRank(size, [&](int rank) {
      std::string error;
      backends_[rank] = MakeRankBackend(groups_[rank].get(), &error);
      ASSERT_NE(backends_[rank], nullptr) << error;
      ASSERT_TRUE(backends_[rank]->Reserve(RankLimits()));
    });
  }

  int size() const { return static_cast<int>(backends_.size()); }
  Backend& backend(int rank) { return *backends_[rank]; }
  RankGroup& group(int rank) { return *groups_[rank]; }

 private:
  std::vector<std::unique_ptr<RankGroup>> groups_;
  std::vector<std::unique_ptr<Backend>> backends_;
};

inline bool HasDevice() {
  std::string error;
  return MakeCudaBackend({}, &error) != nullptr;
}

inline std::vector<float> RandomFloats(size_t count, uint32_t seed) {
  std::minstd_rand random(seed * 7919 + 1);
  std::vector<float> values(count);
  for (float& x : values)
    x = static_cast<float>(static_cast<int32_t>(random() % 20001) - 10000) / 3e3f;
  return values;
}

// What ReduceNorm takes and gives, of a rank: memory for any shape up to the largest.
struct ReduceNormArrays {
  ReduceNormArrays(Backend& backend, size_t elements, size_t hidden)
      : partial(backend, elements),
        residual(backend, elements),
        out(backend, elements),
        out_bf16(backend, elements),
        weight(backend, hidden) {}

  ReduceNormParams Params(int32_t tokens, int32_t hidden, DType type) const {
    return {.partial = partial.get(),
            .residual = residual.get(),
            .weight = weight.get(),
            .out = type == DType::kBF16 ? static_cast<void*>(out_bf16.get()) : out.get(),
            .out_type = type,
            .tokens = tokens,
            .hidden = hidden,
            .epsilon = 1e-5f};
  }

  DeviceArray<float> partial, residual, out;
  DeviceArray<bfloat16> out_bf16, weight;
};

// As rows of `hidden` go over the link: integers of 15 bits, with an exponent for eight of them.
inline std::vector<float> OnTheLink(std::vector<float> rows, size_t hidden) {
  for (size_t begin = 0; begin < rows.size(); begin += hidden) {
    for (size_t group = 0; group < hidden; group += 8) {
      const size_t end = std::min(group + 8, hidden);
      float largest = 0;
      for (size_t i = group; i < end; ++i) largest = std::max(largest, std::abs(rows[begin + i]));
      int exponent = 0;
      std::frexp(largest, &exponent);  // largest is in [2^(exponent - 1), 2^exponent)
      exponent = std::max(exponent, -112) - 14;
      for (size_t i = group; i < end; ++i) {
        const float m = std::nearbyint(std::ldexp(rows[begin + i], -exponent));
        rows[begin + i] = std::ldexp(std::clamp(m, -16383.0f, 16383.0f), exponent);
      }
    }
  }
  return rows;
}

// residual += the sum of the partials, to the bit.
inline void AddPartials(const std::vector<std::vector<float>>& partials, size_t hidden,
                        std::vector<float>* residual) {
  std::vector<float> sum = OnTheLink(partials[0], hidden);
  for (size_t rank = 1; rank < partials.size(); ++rank) {
    const std::vector<float> next = OnTheLink(partials[rank], hidden);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += next[i];
  }
  for (size_t i = 0; i < residual->size(); ++i) (*residual)[i] += sum[i];
}

}  // namespace tidal

#endif  // TIDAL_TESTS_KERNELS_CUDA_DEVICE_RANKS_H_
