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

}  // namespace

std::unique_ptr<Backend> MakeTestBackend() {
  std::string message;
  std::unique_ptr<Backend> backend = MakeBackend({.device = TestDevice()}, &message);
  if (backend == nullptr) {
    std::fprintf(stderr, "TIDAL_TEST_DEVICE: %s\n", message.c_str());
    std::abort();
  }
  return backend;
}

bool BatchesAreBitwiseEqual() { return TestDevice() == "cpu"; }

}  // namespace tidal
