#include "kernels/cuda/attention/decode_kernel.cuh"

namespace tidal::cuda::decode {

template KernelSet KernelsOfDim<16>();
template KernelSet KernelsOfDim<32>();
template KernelSet KernelsOfDim<48>();

}  // namespace tidal::cuda::decode
