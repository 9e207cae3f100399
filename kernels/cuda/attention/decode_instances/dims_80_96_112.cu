#include "kernels/cuda/attention/decode_kernel.cuh"

namespace tidal::cuda::decode {

template KernelSet KernelsOfDim<80>();
template KernelSet KernelsOfDim<96>();
template KernelSet KernelsOfDim<112>();

}  // namespace tidal::cuda::decode
