#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/backend_fixture.h"

namespace tidal {

std::vector<std::string> TestBackendNames() { return {"Cuda"}; }

std::unique_ptr<Backend> MakeTestBackend(const std::string& /*name*/, std::string* reason) {
  std::unique_ptr<Backend> backend = MakeCudaBackend({}, reason);
  if (backend == nullptr) reason->insert(0, "no CUDA device here: ");
  return backend;
}

}  // namespace tidal
