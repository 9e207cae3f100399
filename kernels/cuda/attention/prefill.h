// Causal attention of prompt chunks over the paged cache: cuDNN's fused attention where it is
// installed and has a kernel for the shape, else our own (slower, any shape).
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/attention/params.h"
#include "kernels/backend.h"
#include "kernels/cuda/device_context.h"

namespace tidal::cuda {

enum class PrefillLibrary : uint8_t { kAuto, kCudnn, kOwn };

class PrefillAttentionEngine {
 public:
  PrefillAttentionEngine(DeviceContext& context, PrefillLibrary library);
  ~PrefillAttentionEngine();
  PrefillAttentionEngine(const PrefillAttentionEngine&) = delete;
  PrefillAttentionEngine& operator=(const PrefillAttentionEngine&) = delete;

  // False when the scratch memory does not fit.
  [[nodiscard]] bool Reserve(const BackendLimits& limits);

  // What runs, for the log: "cuDNN 9.14", "own: libcudnn.so.9 was not found".
  const std::string& description() const;

  void Run(const PrefillAttentionParams& params);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_H_
