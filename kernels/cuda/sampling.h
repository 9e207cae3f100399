// Sampling on the device: kernels/sampling_params.h says what is computed. A cluster of up
// to eight blocks works on a row, which it reads once; no sort of the vocabulary. Differs from the
// CPU back end in that the logits are left as they are.
#ifndef TIDAL_KERNELS_CUDA_SAMPLING_H_
#define TIDAL_KERNELS_CUDA_SAMPLING_H_

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cuda/device_context.h"
#include "kernels/sampling_params.h"

namespace tidal::cuda {

// Scratch memory of Sample() and TokenLogprobs(), taken once.
class SamplingWorkspace {
 public:
  SamplingWorkspace() = default;
  ~SamplingWorkspace();
  SamplingWorkspace(const SamplingWorkspace&) = delete;
  SamplingWorkspace& operator=(const SamplingWorkspace&) = delete;

  // For calls of up to limits.max_sampled_rows rows. False when the memory cannot be had.
  [[nodiscard]] bool Reserve(const BackendLimits& limits, DeviceContext& context);

  // Null where rows are sampled in shared memory.
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

void Sample(const SampleParams& params, SamplingWorkspace& workspace, DeviceContext& context);

void TokenLogprobs(const TokenLogprobsParams& params, SamplingWorkspace& workspace,
                   DeviceContext& context);

void AcceptDrafts(const SampleParams& params, DeviceContext& context);

void CountTokens(const CountTokensParams& params, DeviceContext& context);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_SAMPLING_H_
