// The CUDA back end: one NVIDIA GPU, sm_80 or later.
#ifndef TIDAL_KERNELS_CUDA_CUDA_BACKEND_H_
#define TIDAL_KERNELS_CUDA_CUDA_BACKEND_H_

#include <memory>
#include <string>

#include "kernels/backend.h"
#include "kernels/ranks/rank_group.h"

namespace tidal {

struct CudaBackendOptions {
  int device = 0;  // as CUDA numbers them; with a group rank 0's, the next rank has the next one
  bool graphs = true;
  // The ranks that compute the model with this one; null where it is alone. Outlives the back end.
  RankGroup* group = nullptr;
  bool share_device = false;  // all ranks on one device, for tests
};

// Null when there is no such device or it cannot be used; *error then says why.
std::unique_ptr<Backend> MakeCudaBackend(const CudaBackendOptions& options, std::string* error);

}  // namespace tidal

#endif  // TIDAL_KERNELS_CUDA_CUDA_BACKEND_H_
