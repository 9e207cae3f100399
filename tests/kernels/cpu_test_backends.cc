#include "kernels/cpu/cpu_backend.h"
#include "tests/kernels/backend_fixture.h"

namespace tidal {

std::vector<std::string> TestBackendNames() { return {"Portable", "Avx512Bf16"}; }

std::unique_ptr<Backend> MakeTestBackend(const std::string& name, std::string* reason) {
  *reason = "this processor lacks AVX-512 BF16";
  return MakeCpuBackend(
      {.num_threads = 2, .isa = name == "Portable" ? CpuIsa::kPortable : CpuIsa::kAvx512Bf16});
}

}  // namespace tidal
