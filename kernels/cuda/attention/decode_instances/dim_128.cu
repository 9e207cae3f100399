#include "kernels/cuda/attention/decode_kernel.cuh"

namespace tidal::cuda::decode {

template KernelSet KernelsOfDim<128>();

}  // namespace tidal::cuda::decode
