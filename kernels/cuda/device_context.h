// What every operation of the CUDA back end needs: the streams, the device's properties, and the
// first error.
#ifndef TIDAL_KERNELS_CUDA_DEVICE_CONTEXT_H_
#define TIDAL_KERNELS_CUDA_DEVICE_CONTEXT_H_

#include <cuda_runtime.h>

#include <string>

#include "kernels/cuda/launch_trail.h"

namespace tidal::cuda {

// Not thread-safe: one thread drives a device.
struct DeviceContext {
  int device = 0;                 // as CUDA numbers them
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
  LaunchTrail trail;
  std::string error;  // of the first failed call: operation and reason; empty while all is well

  // Makes it the calling thread's device: what CUDA allocates and launches, it does on that.
  void MakeCurrent() {
    static thread_local int current = -1;
    if (current == device) return;
    if (Check(cudaSetDevice(device), "device")) current = device;
  }

  // Remembers the first failure. `operation` names it in the log: "PagedDecode". Of a fault of the
  // device, which any later call may be the first to tell, the kernel is named too.
  bool Check(cudaError_t status, const char* operation) {
    if (status == cudaSuccess) return true;
    if (error.empty()) {
      error = std::string(operation) + ": " + cudaGetErrorName(status) + ", " +
              cudaGetErrorString(status);
      const std::string last = IsDeviceFault(status) ? trail.Last() : "";
      if (!last.empty()) error += "; the last kernel to begin: " + last;
    }
    return false;
  }

 private:
  // Of a kernel at work, after which the device answers nothing.
  static bool IsDeviceFault(cudaError_t status) {
    switch (status) {
      case cudaErrorIllegalAddress:
      case cudaErrorMisalignedAddress:
      case cudaErrorInvalidAddressSpace:
      case cudaErrorIllegalInstruction:
      case cudaErrorInvalidPc:
      case cudaErrorHardwareStackError:
      case cudaErrorLaunchFailure:
      case cudaErrorLaunchTimeout:
      case cudaErrorAssert:
      case cudaErrorECCUncorrectable:
      case cudaErrorUnknown:
        return true;
      default:
        return false;
    }
  }
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_DEVICE_CONTEXT_H_
