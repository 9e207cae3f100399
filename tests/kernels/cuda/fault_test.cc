// A fault of the device is reported with the name of the kernel that was at work. The device
// answers nothing afterwards, so every fault happens in a process of its own, whose last words are
// read.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/kernels/cuda/device_decode_case.h"
#include "tests/kernels/decode_case.h"

namespace tidal {
namespace {

constexpr int32_t kFarBlock = 1 << 26;  // 256 GiB behind the caches of kShape
constexpr DecodeShape kShape = {4, 2, 64, 16};

// Says what the back end says, and ends as a server does: without another call of the device.
[[noreturn]] void Report(Backend& backend) {
  std::fprintf(stderr, "%s\n", backend.Synchronize().c_str());
  std::_Exit(0);
}

[[noreturn]] void EndTooEarly(const std::string& why) {
  std::fprintf(stderr, "no fault was tried: %s\n", why.c_str());
  std::_Exit(1);
}

class CudaFaultTest : public CudaFixture {
 protected:
  void SetUp() override {
    CudaFixture::SetUp();
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }

  DecodeCase case_{kShape, {3000, 70, 500}, 5};
};

// As a step that has ended well, then one with a block that is not there.
void DecodeWithFarBlock(DecodeCase& c, bool graph) {
  DeviceDecodeCase device(c, {0, 0, 0});
  Backend& backend = device.backend();
  DeviceArray<float> out(backend, c.out_size());
  PagedDecodeParams params = device.Params(out.get());
  DeviceArray<int32_t> blocks(backend, c.blocks());
  params.tables.blocks = blocks.get();
  const auto step = [&] {
    device.Plan();
    for (int layer = 0; layer < 3; ++layer) backend.PagedDecode(params);
  };
  if (graph) {
    backend.BeginGraph(1);
    step();
    backend.EndGraph();
  } else {
    step();
  }
  if (const std::string error = backend.Synchronize(); !error.empty()) EndTooEarly(error);
  blocks.Write(std::vector<int32_t>(blocks.size(), kFarBlock));
  if (!graph) {
    step();
  } else if (!backend.RunGraph(1)) {
    EndTooEarly("the graph was not recorded");
  }
  Report(backend);
}

constexpr char kDecodeFault[] =
    "cudaErrorIllegalAddress.*; the last kernel to begin: .*PagedDecode \\(1st of its step\\)";

TEST_F(CudaFaultTest, InDecodeAttention) {
  EXPECT_EXIT(DecodeWithFarBlock(case_, /*graph=*/false), testing::ExitedWithCode(0), kDecodeFault);
}

TEST_F(CudaFaultTest, InAReplayedGraph) {
  EXPECT_EXIT(DecodeWithFarBlock(case_, /*graph=*/true), testing::ExitedWithCode(0), kDecodeFault);
}

TEST_F(CudaFaultTest, InASelectionsSlots) {
  const auto run = [&] {
    DeviceDecodeCase device(case_, {8, 8, 8});
    Backend& backend = device.backend();
    DeviceArray<float> out(backend, case_.out_size());
    SelectionBuffer selection(case_, SelectionGranularity::kShared);
    std::fill(selection.slots().begin(), selection.slots().end(), kFarBlock * 16);
    std::fill(selection.counts().begin(), selection.counts().end(), 8);
    const DeviceSelection on_device(backend, selection);
    device.Plan();
    backend.SparseDecode(device.SparseParams(on_device.view(), out.get()));
    Report(backend);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0), "begin: .*SparseDecode \\(1st of its step\\)");
}

TEST_F(CudaFaultTest, InTheEmbedding) {
  const auto run = [&] {
    const DeviceArray<bfloat16> table(*backend_, 64 * 64);
    const DeviceArray<int32_t> tokens(*backend_, std::vector<int32_t>{3, 1 << 30});
    const DeviceArray<float> out(*backend_, 2 * 64);
    backend_->Embedding({table.get(), tokens.get(), out.get(), 1, 64});
    backend_->Embedding({table.get(), tokens.get(), out.get(), 2, 64});
    backend_->SwiGlu({out.get(), out.get(), DType::kF32, 1, 32});
    Report(*backend_);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0), "begin: Embedding \\(2nd of its step\\)");
}

}  // namespace
}  // namespace tidal
