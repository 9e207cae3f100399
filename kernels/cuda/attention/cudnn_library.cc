#include "kernels/cuda/attention/cudnn_library.h"

#include <cudnn.h>
#include <dlfcn.h>

#include <utility>

namespace tidal::cuda {
namespace {

// clang-format off
#define TIDAL_FOR_EACH_CUDNN_FUNCTION(DO) \
  DO(cudnnCreate) \
  DO(cudnnDestroy) \
  DO(cudnnSetStream) \
  DO(cudnnGetStream) \
  DO(cudnnGetVersion) \
  DO(cudnnGetErrorString) \
  DO(cudnnGetLastErrorString) \
  DO(cudnnBackendCreateDescriptor) \
  DO(cudnnBackendDestroyDescriptor) \
  DO(cudnnBackendExecute) \
  DO(cudnnBackendFinalize) \
  DO(cudnnBackendGetAttribute) \
  DO(cudnnBackendSetAttribute)
// clang-format on

// The cuDNN functions in use, all null until the library is loaded.
struct Functions {
#define TIDAL_MEMBER(name) decltype(&::name) name = nullptr;
  TIDAL_FOR_EACH_CUDNN_FUNCTION(TIDAL_MEMBER)
#undef TIDAL_MEMBER
};

struct Library {
  Functions functions;
  std::string error;  // empty when loaded
};

Library Load() {
  Library library;
  void* const handle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    library.error = reason != nullptr ? reason : "libcudnn.so.9 cannot be loaded";
    return library;
  }
#define TIDAL_LOAD(name)                                                              \
  library.functions.name = reinterpret_cast<decltype(&::name)>(dlsym(handle, #name)); \
  if (library.functions.name == nullptr && library.error.empty()) {                   \
    library.error = "libcudnn.so.9 has no " #name;                                    \
  }
  TIDAL_FOR_EACH_CUDNN_FUNCTION(TIDAL_LOAD)
#undef TIDAL_LOAD
  return library;
}

const Library& TheLibrary() {
  static const Library library = Load();
  return library;
}

const Functions& Cudnn() { return TheLibrary().functions; }

}  // namespace

bool LoadCudnn(std::string* error) {
  *error = TheLibrary().error;
  return error->empty();
}

}  // namespace tidal::cuda

extern "C" {

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  return tidal::cuda::Cudnn().cudnnCreate(handle);
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  return tidal::cuda::Cudnn().cudnnDestroy(handle);
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  return tidal::cuda::Cudnn().cudnnSetStream(handle, stream);
}
cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream) {
  return tidal::cuda::Cudnn().cudnnGetStream(handle, stream);
}
size_t cudnnGetVersion() { return tidal::cuda::Cudnn().cudnnGetVersion(); }
const char* cudnnGetErrorString(cudnnStatus_t status) {
  return tidal::cuda::Cudnn().cudnnGetErrorString(status);
}
void cudnnGetLastErrorString(char* message, size_t max_size) {
  tidal::cuda::Cudnn().cudnnGetLastErrorString(message, max_size);
}
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t* descriptor) {
  return tidal::cuda::Cudnn().cudnnBackendCreateDescriptor(type, descriptor);
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  return tidal::cuda::Cudnn().cudnnBackendDestroyDescriptor(descriptor);
}
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  return tidal::cuda::Cudnn().cudnnBackendFinalize(descriptor);
}
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void* elements) {
  return tidal::cuda::Cudnn().cudnnBackendSetAttribute(descriptor, name, type, count, elements);
}
cudnnStatus_t cudnnBackendGetAttribute(const cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t requested,
                                       int64_t* count, void* elements) {
  return tidal::cuda::Cudnn().cudnnBackendGetAttribute(descriptor, name, type, requested, count,
                                                       elements);
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t variant_pack) {
  return tidal::cuda::Cudnn().cudnnBackendExecute(handle, plan, variant_pack);
}

// The frontend names these for convolutions, which we have none of.
cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t*) {
  return CUDNN_STATUS_NOT_SUPPORTED;
}
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t) {
  return CUDNN_STATUS_NOT_SUPPORTED;
}
cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t, cudnnDataType_t,
                                         cudnnTensorFormat_t, int, const int[]) {
  return CUDNN_STATUS_NOT_SUPPORTED;
}
cudnnStatus_t cudnnReorderFilterAndBias(cudnnHandle_t, const cudnnFilterDescriptor_t,
                                        cudnnReorderType_t, const void*, void*, int, const void*,
                                        void*) {
  return CUDNN_STATUS_NOT_SUPPORTED;
}

}  // extern "C"
