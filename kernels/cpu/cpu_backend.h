// The CPU back end.
#ifndef TIDAL_KERNELS_CPU_CPU_BACKEND_H_
#define TIDAL_KERNELS_CPU_CPU_BACKEND_H_

#include <memory>

#include "kernels/backend.h"
#include "kernels/ranks/rank_group.h"

namespace tidal {

enum class CpuIsa : uint8_t {
  kAuto,        // the best this processor has
  kPortable,    // plain C++, float matrix products
  kAvx512Bf16,  // AVX-512 with BF16 dot products
};

struct CpuBackendOptions {
  int num_threads = 0;  // 0 = all cores this process may use, or a rank's share of them
  CpuIsa isa = CpuIsa::kAuto;
  RankGroup* group = nullptr;  // as in BackendOptions
};

// Null when options.isa asks for instructions this processor does not have.
std::unique_ptr<Backend> MakeCpuBackend(const CpuBackendOptions& options);

}  // namespace tidal

#endif  // TIDAL_KERNELS_CPU_CPU_BACKEND_H_
