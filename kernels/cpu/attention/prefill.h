// Causal attention of prompt chunks over the paged cache (FlashAttention-2's order of work).
#ifndef TIDAL_KERNELS_CPU_ATTENTION_PREFILL_H_
#define TIDAL_KERNELS_CPU_ATTENTION_PREFILL_H_

#include <cstdint>

#include "kernels/attention/params.h"
#include "kernels/cpu/thread_pool.h"

namespace tidal::cpu {

// Returns when the outputs are written. Plain C++, any head_dim.
void PrefillAttentionPortable(const PrefillAttentionParams& params, ThreadPool& pool);

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_ATTENTION_PREFILL_H_
