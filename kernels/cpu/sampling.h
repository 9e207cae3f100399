// Sampling: see kernels/sampling_params.h for the semantics.
#ifndef TIDAL_KERNELS_CPU_SAMPLING_H_
#define TIDAL_KERNELS_CPU_SAMPLING_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/cpu/row_ops.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/sampling_params.h"

namespace tidal::cpu {

// The draw of (seed, tokens generated before): uniform in [0, 1).
double UniformDraw(uint64_t seed, uint64_t generated);

// Scratch memory of one worker; holds nothing between rows.
struct SamplingScratch {
  std::vector<int32_t> ids;                           // candidates
  std::vector<float> weights;                         // [vocab] unnormalised probabilities
  std::vector<std::pair<int32_t, float>> raw_logits;  // those that bias and penalties changed
};

// A NaN logit counts as -infinity. A row that holds +infinity yields its first +infinity; a row of
// -infinity only yields id 0. scratch: one entry a worker of the pool.
void Sample(const SampleParams& params, const RowKernels& kernels, ThreadPool& pool,
            std::vector<SamplingScratch>& scratch);

void AcceptDrafts(const SampleParams& params);

void CountTokens(const CountTokensParams& params);

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_SAMPLING_H_
