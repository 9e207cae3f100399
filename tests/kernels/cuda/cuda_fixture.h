// A test of the CUDA back end. Skips, visibly, where there is no device.
#ifndef TIDAL_TESTS_KERNELS_CUDA_CUDA_FIXTURE_H_
#define TIDAL_TESTS_KERNELS_CUDA_CUDA_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/device_array.h"

namespace tidal {

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
