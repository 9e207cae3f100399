#include "tests/support/test_backend.h"

#include <cstdio>
#include <cstdlib>
#include <string>

#include "kernels/backends.h"

namespace tidal {
namespace {

std::string TestDevice() {
  const char* const device = std::getenv("TIDAL_TEST_DEVICE");
  return device == nullptr ? "cpu" : device;
}

std::unique_ptr<Backend> Make(const BackendOptions& options) {
  std::string message;
  std::unique_ptr<Backend> backend = MakeBackend(options, &message);
  if (backend == nullptr) {
    std::fprintf(stderr, "TIDAL_TEST_DEVICE: %s\n", message.c_str());
    std::abort();
  }
  return backend;
}

}  // namespace

std::unique_ptr<Backend> MakeTestBackend() { return Make({.device = TestDevice()}); }

std::unique_ptr<Backend> MakeTestBackend(RankGroup* group) {
  BackendOptions options = {.device = TestDevice(), .num_threads = 1, .group = group};
  std::string message;
  if (std::unique_ptr<Backend> backend = MakeBackend(options, &message)) return backend;
  options.ranks_share_device = true;
  return Make(options);
}

bool BatchesAreBitwiseEqual() { return TestDevice() == "cpu"; }

}  // namespace tidal
