// Matrix products by cuBLASLt: its candidate algorithms for a shape, and running one of them.
#ifndef TIDAL_KERNELS_CUDA_LIBRARY_MATMUL_H_
#define TIDAL_KERNELS_CUDA_LIBRARY_MATMUL_H_

#include <cublasLt.h>

#include <cstddef>
#include <vector>

#include "kernels/cuda/device_context.h"
#include "kernels/cuda/matmul_product.h"

namespace tidal::cuda {

using LibraryAlgorithm = cublasLtMatmulAlgo_t;

class LibraryMatMul {
 public:
  // A failure goes to context.error.
  explicit LibraryMatMul(DeviceContext& context);
  ~LibraryMatMul();
  LibraryMatMul(const LibraryMatMul&) = delete;
  LibraryMatMul& operator=(const LibraryMatMul&) = delete;

  // Device memory that every product may scribble on; the caller's.
  void SetWorkspace(void* memory, size_t bytes);

  // Those that run this product, the library's favourite first; at most `count`. They suit the
  // alignment of the product's x and y.
  std::vector<LibraryAlgorithm> Candidates(const MatMulProduct& product, int count);

  // Enqueues. False when the algorithm cannot run this product: nothing is enqueued then.
  bool Run(const MatMulProduct& product, const LibraryAlgorithm& algorithm);

 private:
  DeviceContext& context_;
  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  size_t workspace_bytes_ = 0;
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_LIBRARY_MATMUL_H_
