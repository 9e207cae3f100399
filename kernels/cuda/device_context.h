// What every operation of the CUDA back end needs: the streams, the device's properties, and the
// first error.
#ifndef TIDAL_KERNELS_CUDA_DEVICE_CONTEXT_H_
#define TIDAL_KERNELS_CUDA_DEVICE_CONTEXT_H_

#include <cuda_runtime.h>

#include <string>

namespace tidal::cuda {

// Not thread-safe: one thread drives a device.
struct DeviceContext {
  cudaStream_t stream = nullptr;  // all operations, in order
  cudaStream_t side_stream =
      nullptr;  // work off the critical path, forked from `stream` and joined
  int num_sms = 0;
  int compute_capability = 0;    // 90 for 9.0
  size_t max_shared_memory = 0;  // bytes a block may opt into
  size_t l2_bytes = 0;
  // The next kernel on `stream` starts when all before it have ended and what they wrote is seen,
  // and so by every kernel after it, which need not wait for its previous kernel to read that.
  bool next_launch_is_full = false;
  std::string error;  // of the first failed call: operation and reason; empty while all is well

  // Remembers the first failure. `operation` names it in the log: "PagedDecode".
  bool Check(cudaError_t status, const char* operation) {
    if (status == cudaSuccess) return true;
    if (error.empty()) {
      error = std::string(operation) + ": " + cudaGetErrorName(status) + ", " +
              cudaGetErrorString(status);
    }
    return false;
  }
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_DEVICE_CONTEXT_H_
