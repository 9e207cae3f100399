// A test of the CPU back end, run once for each instruction set this processor has.
#ifndef TIDAL_TESTS_KERNELS_CPU_BACKEND_FIXTURE_H_
#define TIDAL_TESTS_KERNELS_CPU_BACKEND_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_backend.h"

namespace tidal {

class CpuBackendFixture : public testing::TestWithParam<CpuIsa> {
 protected:
  void SetUp() override {
    backend_ = MakeCpuBackend({.num_threads = 2, .isa = GetParam()});
    if (backend_ == nullptr) GTEST_SKIP() << "this processor lacks AVX-512 BF16";
  }
  void TearDown() override {
    if (backend_ != nullptr) {
      EXPECT_EQ(backend_->Synchronize(), "");
    }
  }

  bool is_bf16() const { return backend_->info().matmul_type == DType::kBF16; }

  std::unique_ptr<Backend> backend_;
};

inline std::string IsaParamName(const testing::TestParamInfo<CpuIsa>& info) {
  return info.param == CpuIsa::kPortable ? "Portable" : "Avx512Bf16";
}

// Seeded numbers, normal with the given deviation, each one exact in bf16.
inline std::vector<float> RandomFloats(size_t count, uint32_t seed, float deviation = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float& x : values) x = ToFloat(ToBFloat16(normal(engine)));
  return values;
}

inline std::vector<bfloat16> AsBFloat16(const std::vector<float>& values) {
  std::vector<bfloat16> out;
  for (float x : values) out.push_back(ToBFloat16(x));
  return out;
}

}  // namespace tidal

#define TIDAL_INSTANTIATE_FOR_EVERY_ISA(fixture)                                                  \
  INSTANTIATE_TEST_SUITE_P(Isa, fixture, testing::Values(CpuIsa::kPortable, CpuIsa::kAvx512Bf16), \
                           IsaParamName)

#endif  // TIDAL_TESTS_KERNELS_CPU_BACKEND_FIXTURE_H_
