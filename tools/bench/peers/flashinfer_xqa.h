// FlashInfer's XQA kernel for decode attention, whose source is configured by macros: here for
// bf16, heads of 128 elements, four query heads a KV head and pages of 16 tokens.
#ifndef TIDAL_TOOLS_BENCH_PEERS_FLASHINFER_XQA_H_
#define TIDAL_TOOLS_BENCH_PEERS_FLASHINFER_XQA_H_

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace tidal::peers {

constexpr int kXqaGroup = 4;  // query heads a KV head

struct XqaParams {
  const __nv_bfloat16* q;                 // [batch][kv_heads * kXqaGroup][128]
  __nv_bfloat16 *keys, *values;           // [page][kv_heads][16][128]
  const int32_t* pages;                   // [batch][max_context / 16]
  const uint32_t* context_lens;           // [batch]
  uint32_t batch, kv_heads, max_context;  // max_context: a multiple of 16
  __nv_bfloat16* out;
  uint32_t* semaphores;  // zeros; the kernel leaves zeros
  void* scratch;
  uint32_t num_sms;
  bool pdl;
};

void LaunchXqa(const XqaParams& params, cudaStream_t stream);

}  // namespace tidal::peers

#endif  // TIDAL_TOOLS_BENCH_PEERS_FLASHINFER_XQA_H_
