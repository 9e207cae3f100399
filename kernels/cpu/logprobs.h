// Log probabilities of a row of logits: of sampled tokens, and of given ones.
#ifndef TIDAL_KERNELS_CPU_LOGPROBS_H_
#define TIDAL_KERNELS_CPU_LOGPROBS_H_

#include <cstdint>

#include "kernels/cpu/row_ops.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/sampling_params.h"

namespace tidal::cpu {

// log(sum(exp(x))), from which the log probabilities of a row's logits are differences. NaN of a
// corrupt row (sampling_params.h), and so in all of them or in none. Turns NaN to -infinity.
float LogSum(float* logits, int32_t vocab, const RowKernels& kernels);

// A row's alternatives.
struct TopLogprobs {
  int32_t* ids;   // [size] out
  float* values;  // [size] out
  int32_t size;
};

// The best `wanted` tokens by raw logit, ties to the lower id; the rest of `out` says none.
void WriteTopLogprobs(const float* logits, int32_t vocab, float log_sum, int32_t wanted,
                      const TopLogprobs& out);

// The given tokens, [count] rising ids, best first, ties to the lower id; the rest of `out`, which
// is at least as large, says none.
void WriteGivenLogprobs(const float* logits, float log_sum, const int32_t* tokens, int32_t count,
                        const TopLogprobs& out);

void TokenLogprobs(const TokenLogprobsParams& params, const RowKernels& kernels, ThreadPool& pool);

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_LOGPROBS_H_
