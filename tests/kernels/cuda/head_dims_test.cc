// Which head dimensions a build has kernels for, and what it says of others: no device needed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "kernels/cuda/attention/decode.h"

namespace tidal::cuda {
namespace {

using testing::HasSubstr;

TEST(CudaHeadDims, ThoseOfTheTestsAreThere) {
  for (const int32_t head_dim : {16, 32, 64, 80, 128}) {
    EXPECT_THAT(DecodeHeadDims(), testing::Contains(head_dim));
    EXPECT_EQ(WhyUnsupportedHeadDim(head_dim), "");
  }
}

TEST(CudaHeadDims, AnotherNamesTheOptionThatBringsIt) {
  int named = 0;
  for (int32_t head_dim = 16; head_dim <= 256; head_dim += 16) {
    const std::string reason = WhyUnsupportedHeadDim(head_dim);
    if (reason.empty()) continue;
    ++named;
    const std::string dim = std::to_string(head_dim);
    EXPECT_THAT(reason, HasSubstr("got " + dim + "; -DTIDAL_CUDA_HEAD_DIMS=\"16;"));
    EXPECT_THAT(reason, HasSubstr(";" + dim + "\" of CMake"));
  }
  EXPECT_EQ(named, 16 - static_cast<int>(DecodeHeadDims().size()));
}

TEST(CudaHeadDims, NoOptionBringsWhatNoKernelCanDo) {
  for (const int32_t head_dim : {0, 8, 24, 272}) {
    const std::string reason = WhyUnsupportedHeadDim(head_dim);
    EXPECT_THAT(reason, HasSubstr("must be a multiple of 16 up to 256"));
    const std::string dim = std::to_string(head_dim);
    EXPECT_THAT(reason, HasSubstr("got " + dim));
  }
}

}  // namespace
}  // namespace tidal::cuda
