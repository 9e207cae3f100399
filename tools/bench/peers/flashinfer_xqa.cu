#include "tools/bench/peers/flashinfer_xqa.h"

// As FlashInfer's jit/xqa.py configures it. "mha.cu" is in csrc/xqa of the flashinfer-python wheel.
#define BEAM_WIDTH 1
#define CACHE_ELEM_ENUM 0
#define DTYPE __nv_bfloat16
#define HEAD_ELEMS 128
#define HEAD_GRP_SIZE 4
#define INPUT_FP16 0
#define LOW_PREC_OUTPUT 0
#define SLIDING_WINDOW 0
#define SPEC_DEC 0
#define TOKENS_PER_PAGE 16
#define USE_CUSTOM_BARRIER 1
#define USE_INPUT_KV 0
#include "mha.cu"

namespace tidal::peers {

static_assert(kXqaGroup == HEAD_GRP_SIZE);

void LaunchXqa(const XqaParams& p, cudaStream_t stream) {
  constexpr uint64_t kTokenStride = HEAD_ELEMS, kHeadStride = kTokenStride * TOKENS_PER_PAGE;
  launchMHAFlashInfer(
      p.num_sms, p.kv_heads, /*slidingWinSize=*/0, /*qScale=*/1.0f, /*qScalePtr=*/nullptr,
      reinterpret_cast<OutputHead*>(p.out), reinterpret_cast<const InputHead*>(p.q),
      /*attentionSinks=*/nullptr, reinterpret_cast<GMemCacheHead*>(p.keys),
      reinterpret_cast<GMemCacheHead*>(p.values), p.pages, p.max_context, p.context_lens, p.batch,
      /*kvCacheScale=*/1.0f, /*kvScalePtr=*/nullptr, p.semaphores, p.scratch, p.pdl,
      kHeadStride * p.kv_heads, kTokenStride, kHeadStride, stream);
}

}  // namespace tidal::peers
