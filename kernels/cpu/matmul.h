// Matrix products by oneDNN.
//
// The output columns of a weight are cut into slices, one a thread; each slice is a packed matrix
// of its own and each product of a slice with a tile of rows is one single-threaded oneDNN
// primitive, run inside the pool's loop. So oneDNN never opens threads of its own.
#ifndef TIDAL_KERNELS_CPU_MATMUL_H_
#define TIDAL_KERNELS_CPU_MATMUL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cpu/thread_pool.h"
#include "kernels/layer_params.h"

namespace tidal::cpu {

class MatMulEngine {
 public:
  // type: of the activations and the packed weights. kBF16 needs AVX-512 BF16.
  MatMulEngine(DType type, ThreadPool& pool);
  ~MatMulEngine();
  MatMulEngine(const MatMulEngine&) = delete;
  MatMulEngine& operator=(const MatMulEngine&) = delete;

  // Null when memory runs out; then error() says so.
  std::unique_ptr<PackedWeight> Pack(const bfloat16* weight, int32_t out_features,
                                     int32_t in_features);
  void MatMul(const MatMulParams& params);

  // Empty, or the first failure. Once set, it stays.
  const std::string& error() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_MATMUL_H_
