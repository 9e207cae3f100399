// The operations of a transformer layer other than attention: layer_params.h says what each is.
#ifndef TIDAL_KERNELS_LAYER_OPS_H_
#define TIDAL_KERNELS_LAYER_OPS_H_

#include <cstdint>
#include <memory>

#include "kernels/layer_params.h"

namespace tidal {

class LayerOps {
 public:
  virtual ~LayerOps() = default;

  // The weight in host memory is not kept. Null when it does not fit.
  virtual std::unique_ptr<PackedWeight> PackWeight(const HostWeight& weight) = 0;
  // The same of random numbers, for benchmarks without a checkpoint.
  virtual std::unique_ptr<PackedWeight> PackRandomWeight(int32_t out_features, int32_t in_features,
                                                         uint64_t seed, float deviation) = 0;

  virtual void UpdateTables(const UpdateTablesParams& params) = 0;
  virtual void Embedding(const EmbeddingParams& params) = 0;
  virtual void RmsNorm(const RmsNormParams& params) = 0;
  virtual void MatMul(const MatMulParams& params) = 0;
  virtual void RopeStoreKv(const RopeStoreKvParams& params) = 0;
  virtual void SwiGlu(const SwiGluParams& params) = 0;
  virtual void GatherRows(const GatherRowsParams& params) = 0;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_LAYER_OPS_H_
