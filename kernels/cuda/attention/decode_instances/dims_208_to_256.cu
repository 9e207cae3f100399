#include "kernels/cuda/attention/decode_kernel.cuh"

namespace tidal::cuda::decode {

template KernelSet KernelsOfDim<208>();
template KernelSet KernelsOfDim<224>();
template KernelSet KernelsOfDim<240>();
template KernelSet KernelsOfDim<256>();

}  // namespace tidal::cuda::decode
