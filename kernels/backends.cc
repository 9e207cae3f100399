#include "kernels/backends.h"

#include "kernels/cpu/cpu_backend.h"
#if TIDAL_HAS_CUDA
#include "kernels/cuda/cuda_backend.h"
#endif

namespace tidal {
namespace {

std::unique_ptr<Backend> MakeCuda(const BackendOptions& options, std::string* message) {
#if TIDAL_HAS_CUDA
  CudaBackendOptions cuda;
  cuda.device = options.cuda_device;
  cuda.graphs = options.cuda_graphs;
  if (options.group != nullptr && options.group->size() > 1) cuda.group = options.group;
  cuda.share_device = options.ranks_share_device;
  return MakeCudaBackend(cuda, message);
#else
  (void)options;
  *message = "this program was built without CUDA";
  return nullptr;
#endif
}

}  // namespace

std::unique_ptr<Backend> MakeBackend(const BackendOptions& options, std::string* message) {
  message->clear();
  if (options.device != "auto" && options.device != "cpu" && options.device != "cuda") {
    *message = "device: must be auto, cpu or cuda, got " + options.device;
    return nullptr;
  }
  if (options.device != "cpu") {
    std::unique_ptr<Backend> cuda = MakeCuda(options, message);
    if (cuda != nullptr || options.device == "cuda") {
      if (cuda == nullptr) *message = "device: cuda cannot be used: " + *message;
      return cuda;
    }
    *message = "no CUDA device: " + *message;
  }
  std::unique_ptr<Backend> cpu =
      MakeCpuBackend({.num_threads = options.num_threads, .group = options.group});
  if (cpu == nullptr) *message = "device: the CPU back end did not start";
  return cpu;
}

}  // namespace tidal
