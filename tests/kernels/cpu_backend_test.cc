#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_isa.h"
#include "tests/kernels/cpu_backend_fixture.h"

namespace tidal {
namespace {

class CpuBackendTest : public CpuBackendFixture {};
TIDAL_INSTANTIATE_FOR_EVERY_ISA(CpuBackendTest);

TEST_P(CpuBackendTest, NamesItself) {
  EXPECT_TRUE(backend_->info().shares_host_memory);
  EXPECT_NE(backend_->info().name.find("2 threads"), std::string::npos);
  EXPECT_EQ(backend_->info().matmul_type,
            GetParam() == CpuIsa::kPortable ? DType::kF32 : DType::kBF16);
}

TEST_P(CpuBackendTest, MemoryIsAlignedAndZero) {
  for (const size_t bytes :
       {size_t{0}, size_t{1}, size_t{1000}, size_t{5} << 20, (size_t{199} << 20) + 5}) {
    auto* ptr = static_cast<uint8_t*>(backend_->Allocate(bytes));
    ASSERT_NE(ptr, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(ptr) % 256, 0u);
    EXPECT_TRUE(std::all_of(ptr, ptr + bytes, [](uint8_t x) { return x == 0; }));
    std::fill(ptr, ptr + bytes, 0xff);  // so that the next round meets used memory
    backend_->Free(ptr);
  }
  backend_->Free(nullptr);
}

TEST_P(CpuBackendTest, TooMuchMemoryIsNull) {
  EXPECT_EQ(backend_->Allocate(size_t{1} << 50), nullptr);
  EXPECT_EQ(backend_->Allocate(std::numeric_limits<size_t>::max()), nullptr);
  EXPECT_EQ(backend_->Synchronize(), "");
}

TEST_P(CpuBackendTest, CopiesBothWays) {
  std::vector<int> in(1000), out(1000);
  std::iota(in.begin(), in.end(), 7);
  void* ptr = backend_->Allocate(4000);
  backend_->CopyToDevice(ptr, in.data(), 4000);
  backend_->CopyToHost(out.data(), ptr, 4000);
  backend_->CopyToHost(nullptr, nullptr, 0);
  EXPECT_EQ(out, in);
  backend_->Free(ptr);
}

TEST_P(CpuBackendTest, ReservesForALongContext) {
  BackendLimits limits = {};
  limits.max_tokens = 8192;
  limits.max_decode_rows = 256;
  limits.max_context_len = 131072;
  limits.num_heads = 32;
  limits.num_kv_heads = 8;
  limits.head_dim = 128;
  limits.vocab_size = 128256;
  EXPECT_TRUE(backend_->Reserve(limits));
}

TEST(MakeCpuBackendTest, AutoTakesTheBestThereIs) {
  const auto backend = MakeCpuBackend({});
  ASSERT_NE(backend, nullptr);
  EXPECT_EQ(backend->info().matmul_type, cpu::HasAvx512Bf16() ? DType::kBF16 : DType::kF32);
  EXPECT_EQ(MakeCpuBackend({.isa = CpuIsa::kAvx512Bf16}) != nullptr, cpu::HasAvx512Bf16());
  EXPECT_GE(cpu::UsableProcessors(), 1);
}

}  // namespace
}  // namespace tidal
