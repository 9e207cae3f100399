// The CUDA back end: one NVIDIA GPU, sm_80 or later.
#ifndef TIDAL_KERNELS_CUDA_CUDA_BACKEND_H_
#define TIDAL_KERNELS_CUDA_CUDA_BACKEND_H_

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/backend.h"

namespace tidal {

enum class CudaPrefill : uint8_t { kAuto, kCudnn, kOwn };

struct CudaBackendOptions {
  int device = 0;  // as CUDA numbers them
  bool graphs = true;
  CudaPrefill prefill = CudaPrefill::kAuto;
};

// Null when there is no such device or it cannot be used; *error then says why.
std::unique_ptr<Backend> MakeCudaBackend(const CudaBackendOptions& options, std::string* error);

}  // namespace tidal

#endif  // TIDAL_KERNELS_CUDA_CUDA_BACKEND_H_
