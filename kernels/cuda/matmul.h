// Matrix products: cuBLASLt for many rows, our own kernel for few (decode), chosen per shape by
// timing. bf16 inputs, float sums and outputs.
#ifndef TIDAL_KERNELS_CUDA_MATMUL_H_
#define TIDAL_KERNELS_CUDA_MATMUL_H_

#include <cstdint>
#include <memory>

#include "kernels/cuda/device_context.h"
#include "kernels/layer_params.h"
#include "kernels/ranks/rank_exchange.h"

namespace tidal::cuda {

// For measurements. kLibrary: never our own kernel. kOwn: our own kernel where it covers the shape
// (up to 16 tokens), else the library. Either way the fastest of its kind.
enum class MatMulPath : uint8_t { kAuto, kLibrary, kOwn };

class MatMulEngine {
 public:
  explicit MatMulEngine(DeviceContext& context);
  ~MatMulEngine();
  MatMulEngine(const MatMulEngine&) = delete;
  MatMulEngine& operator=(const MatMulEngine&) = delete;

  // Takes the memory for cuBLASLt and for timing. False when it does not fit. Once, before any
  // product.
  [[nodiscard]] bool Reserve();

  // Device memory [out_features, in_features], uninitialised. Null when it does not fit.
  std::unique_ptr<PackedWeight> Allocate(int32_t out_features, int32_t in_features);
  // The memory of a weight made by Allocate(). Products read it early: the stream must be
  // synchronised after it was written by a kernel and before the first product.
  static bfloat16* Data(PackedWeight& weight);

  // Enqueues. The first product of a shape (weight's shape, tokens rounded up, accumulate or not,
  // bias or not) waits for the device and times the candidate algorithms (some milliseconds),
  // unless the stream is capturing: then it takes the best known one, and a later call may do the
  // timing.
  void MatMul(const MatMulParams& params);

  // For all products from here on: what rank 0 measures, all ranks take. They call MatMul() alike.
  void ShareChoices(RankExchange* exchange);

  // For all products from here on.
  void ForcePath(MatMulPath path);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_MATMUL_H_
