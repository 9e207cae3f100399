// The CUDA back end: one NVIDIA GPU, sm_80 or later.
#ifndef TIDAL_KERNELS_CUDA_CUDA_BACKEND_H_
#define TIDAL_KERNELS_CUDA_CUDA_BACKEND_H_

#include <memory>
#include <string>

#include "kernels/backend.h"

namespace tidal {

struct CudaBackendOptions {
  int device = 0;  // as CUDA numbers them
  bool graphs = true;
};

// Null when there is no such device or it cannot be used; *error then says why.
std::unique_ptr<Backend> MakeCudaBackend(const CudaBackendOptions& options, std::string* error);

}  // namespace tidal

#endif  // TIDAL_KERNELS_CUDA_CUDA_BACKEND_H_
