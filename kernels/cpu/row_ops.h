// Operations that work row by row: embedding, norm, rotation and KV store, activation, gather; and
// the loops over a row of logits that sampling needs. Rows are split over the pool when there is
// enough work to pay for waking it.
#ifndef TIDAL_KERNELS_CPU_ROW_OPS_H_
#define TIDAL_KERNELS_CPU_ROW_OPS_H_

#include <cstdint>

#include "kernels/cpu/thread_pool.h"
#include "kernels/layer_params.h"

namespace tidal::cpu {

// The inner loops, one row each, for one instruction set.
struct RowKernels {
  // out = x / sqrt(mean(x^2) + epsilon) * weight
  void (*rms_norm)(const float* x, const bfloat16* weight, float epsilon, int32_t hidden,
                   DType out_type, void* out);
  // out = silu(gate) * up
  void (*swiglu)(const float* gate, const float* up, int32_t count, DType out_type, void* out);
  // out = x rotated by the angles of cos_sin: head_dim / 2 cosines, then as many sines.
  void (*rotate)(const float* x, const float* cos_sin, int32_t head_dim, bfloat16* out);
  void (*to_bfloat16)(const float* x, int32_t count, bfloat16* out);
  // Turns NaN to -infinity, says whether there was one, and returns the largest element; count
  // >= 1.
  float (*clean_max)(float* x, int32_t count, bool* had_nan);
  // Sum of exp((x - offset) * scale), none of which overflows; `out` takes the terms, or is null.
  double (*sum_exp)(const float* x, int32_t count, float offset, float scale, float* out);
};

extern const RowKernels kPortableRowKernels;
extern const RowKernels kAvx512RowKernels;

// avx512_bf16: the caller has checked that the processor has it.
const RowKernels& GetRowKernels(bool avx512_bf16);

void Embedding(const EmbeddingParams& params, ThreadPool& pool);
void UpdateTables(const UpdateTablesParams& params);
void RmsNorm(const RmsNormParams& params, const RowKernels& kernels, ThreadPool& pool);
void RopeStoreKv(const RopeStoreKvParams& params, const RowKernels& kernels, ThreadPool& pool);
void SwiGlu(const SwiGluParams& params, const RowKernels& kernels, ThreadPool& pool);
void GatherRows(const GatherRowsParams& params, ThreadPool& pool);
void FillRandom(bfloat16* dst, int64_t count, uint64_t seed, float deviation, ThreadPool& pool);

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_ROW_OPS_H_
