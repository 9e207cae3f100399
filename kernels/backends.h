// The back ends this program was built with, by name.
#ifndef TIDAL_KERNELS_BACKENDS_H_
#define TIDAL_KERNELS_BACKENDS_H_

#include <memory>
#include <string>

#include "kernels/backend.h"
#include "kernels/ranks/rank_group.h"

namespace tidal {

struct BackendOptions {
  std::string device = "auto";  // "cpu", "cuda", or "auto": cuda where it works, else cpu
  int num_threads = 0;          // of the CPU back end, as in CpuBackendOptions
  int cuda_device = 0;          // as CUDA numbers them
  bool cuda_graphs = true;
  // All ranks on cuda_device, where each would have the next one: for tests.
  bool ranks_share_device = false;
  // The ranks that compute the model with this one; null where it is alone. Outlives the back end.
  RankGroup* group = nullptr;
};

// Null when the device is unknown or cannot be used. *message then says why; otherwise it is empty,
// or says why "auto" did not take the GPU.
std::unique_ptr<Backend> MakeBackend(const BackendOptions& options, std::string* message);

}  // namespace tidal

#endif  // TIDAL_KERNELS_BACKENDS_H_
