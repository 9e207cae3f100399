// CudnnPrefill of a build without cuDNN's C++ frontend.
#include "kernels/cuda/attention/prefill_cudnn.h"

namespace tidal::cuda {

std::unique_ptr<CudnnPrefill> CudnnPrefill::Make(DeviceContext&, std::string* reason) {
  *reason = "built without cuDNN's C++ frontend";
  return nullptr;
}

}  // namespace tidal::cuda
