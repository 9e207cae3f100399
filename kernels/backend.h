// The one interface between the engine and the hardware: memory, copies, operations.
//
// Operations are enqueued in order and may run later; Synchronize() waits for all of them. An
// operation that the hardware fails makes the back end fail for good: Synchronize() then names it.
// Shapes are checked by the engine; an operation aborts on a shape it was promised not to get.
// Not thread-safe: one thread drives a back end.
#ifndef TIDAL_KERNELS_BACKEND_H_
#define TIDAL_KERNELS_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/attention/params.h"
#include "kernels/layer_params.h"
#include "kernels/sampling_params.h"
#include "kernels/types.h"

namespace tidal {

struct BackendInfo {
  std::string name;    // "cpu", "cuda"
  std::string device;  // "AMD EPYC, 2 threads, avx512_bf16"
  DType matmul_type;   // type of what enters a matrix product
};

// The largest step the back end will be asked to run: its scratch memory is taken from this.
struct BackendLimits {
  int32_t max_tokens;       // rows of one step, prefill tokens included
  int32_t max_decode_rows;
  int32_t max_context_len;
  int32_t num_heads, num_kv_heads, head_dim;
  int32_t max_token_budget;
  int32_t vocab;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const BackendInfo& info() const = 0;

  // Memory, aligned to 256 bytes, zeroed. Null when it does not fit.
  virtual void* Allocate(size_t bytes) = 0;
  virtual void Free(void* ptr) = 0;
  virtual void CopyToDevice(void* dst, const void* host_src, size_t bytes) = 0;
  virtual void CopyToHost(void* host_dst, const void* src, size_t bytes) = 0;

  // Empty when all work so far succeeded, else the failed operation and the reason.
  [[nodiscard]] virtual std::string Synchronize() = 0;

  // Scratch memory for steps up to `limits`. False when it does not fit. Call once, before any
  // operation below.
  [[nodiscard]] virtual bool Reserve(const BackendLimits& limits) = 0;

  // weight: host memory [out_features, in_features], not kept.
  virtual std::unique_ptr<PackedWeight> PackWeight(const bfloat16* weight, int32_t out_features,
                                                   int32_t in_features) = 0;

  virtual void Embedding(const EmbeddingParams& params) = 0;
  virtual void RmsNorm(const RmsNormParams& params) = 0;
  virtual void MatMul(const MatMulParams& params) = 0;
  virtual void RopeStoreKv(const RopeStoreKvParams& params) = 0;
  virtual void SwiGlu(const SwiGluParams& params) = 0;
  virtual void GatherRows(const GatherRowsParams& params) = 0;

  virtual void PrefillAttention(const PrefillAttentionParams& params) = 0;
  virtual void PagedDecode(const PagedDecodeParams& params) = 0;
  // PagedDecode, and the token sets of its rows; the scores come from the pass that reads K.
  virtual void SelectingDecode(const PagedDecodeParams& params,
                               const SelectTokensParams& select) = 0;
  virtual void SparseDecode(const SparseDecodeParams& params) = 0;

  virtual void Sample(const SamplingParamsView& params) = 0;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_BACKEND_H_
