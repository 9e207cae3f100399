// libcudnn.so.9, loaded when the program first asks for it: the program starts without it.
//
// cudnn_library.cc defines the cuDNN functions that cuDNN's C++ frontend calls; each passes its
// call on to the loaded library. Nothing may be linked with cuDNN itself.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_CUDNN_LIBRARY_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_CUDNN_LIBRARY_H_

#include <string>

namespace tidal::cuda {

// True when the library is loaded, now or before; else *error says why it cannot be. No cuDNN
// function may be called before this returned true. Thread-safe.
bool LoadCudnn(std::string* error);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_CUDNN_LIBRARY_H_
