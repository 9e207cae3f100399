#include "kernels/cuda/attention/decode_kernel.cuh"

namespace tidal::cuda::decode {

template KernelSet KernelsOfDim<144>();
template KernelSet KernelsOfDim<160>();
template KernelSet KernelsOfDim<176>();
template KernelSet KernelsOfDim<192>();

}  // namespace tidal::cuda::decode
