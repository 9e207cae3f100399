// A suite of tests that every back end has to pass. The parameter names the back end; which there
// are, a program says that has the suite.
#ifndef TIDAL_TESTS_KERNELS_BACKEND_FIXTURE_H_
#define TIDAL_TESTS_KERNELS_BACKEND_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace tidal {

// A program has one definition of these two, for the CPU or for CUDA.
std::vector<std::string> TestBackendNames();
// Null, with the reason, where this machine has not what the back end needs.
std::unique_ptr<Backend> MakeTestBackend(const std::string& name, std::string* reason);

class BackendFixture : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::string reason;
    backend_ = MakeTestBackend(GetParam(), &reason);
    if (backend_ == nullptr) GTEST_SKIP() << reason;
  }
  void TearDown() override {
    if (backend_ != nullptr) {
      EXPECT_EQ(backend_->Synchronize(), "");
    }
  }

  std::unique_ptr<Backend> backend_;
};

}  // namespace tidal

#define TIDAL_INSTANTIATE_FOR_EVERY_BACKEND(suite)                                 \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, testing::ValuesIn(TestBackendNames()), \
                           [](const auto& info) { return info.param; })

#endif  // TIDAL_TESTS_KERNELS_BACKEND_FIXTURE_H_
