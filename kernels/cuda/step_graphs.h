// CUDA graphs of whole steps, by key.
#ifndef TIDAL_KERNELS_CUDA_STEP_GRAPHS_H_
#define TIDAL_KERNELS_CUDA_STEP_GRAPHS_H_

#include <cuda_runtime.h>

#include <functional>
#include <string>
#include <unordered_map>

#include "kernels/backend.h"
#include "kernels/cuda/device_context.h"

namespace tidal::cuda {

// Not thread-safe. The context outlives it.
class StepGraphs {
 public:
  explicit StepGraphs(DeviceContext& context) : context_(context) {}
  ~StepGraphs();
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  bool Run(GraphKey key);
  void Begin(GraphKey key);
  // Empty, or why nothing was recorded. all_recorded(whether this rank has): whether all ranks
  // have; else none of them launches it.
  std::string End(const std::function<bool(bool)>& all_recorded);

 private:
  bool Try(cudaError_t status, const char* what);

  DeviceContext& context_;
  std::unordered_map<GraphKey, cudaGraphExec_t> graphs_;
  GraphKey key_ = 0;
  std::string failure_;  // of what is being recorded
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_STEP_GRAPHS_H_
