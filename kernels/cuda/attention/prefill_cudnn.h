// Prefill attention through cuDNN's fused kernels. sm_90 and later.
//
// cuDNN compiles a plan for each shape, in about a second. So there are two, made in advance: one
// long chunk, whose context is first copied out of its pages, and several short ones over the pages
// as they are; how long the chunks and contexts of a call really are, cuDNN reads from device
// memory.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_CUDNN_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_CUDNN_H_

#include <memory>
#include <string>

#include "kernels/attention/params.h"
#include "kernels/backend.h"
#include "kernels/cuda/device_context.h"

namespace tidal::cuda {

class CudnnPrefill {
 public:
  // Null, and *reason says why, where cuDNN cannot be used or the program was built without it.
  static std::unique_ptr<CudnnPrefill> Make(DeviceContext& context, std::string* reason);
  virtual ~CudnnPrefill() = default;

  // Makes the plans and takes their memory. Empty, or why there are none: the object is then of no
  // use. *out_of_memory says whether that is the reason.
  [[nodiscard]] virtual std::string Reserve(const BackendLimits& limits, bool* out_of_memory) = 0;

  // Whether Run() computes such a call: the reserved heads and cache, chunks and contexts no longer
  // than reserved, bf16 outputs.
  virtual bool Supports(const PrefillAttentionParams& params) const = 0;
  // Enqueues on the context's stream. False when cuDNN refuses: outputs are then unwritten, and no
  // further call should be tried.
  [[nodiscard]] virtual bool Run(const PrefillAttentionParams& params) = 0;

  virtual const std::string& version() const = 0;  // "9.14.0"
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_CUDNN_H_
