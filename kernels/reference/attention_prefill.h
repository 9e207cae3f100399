// What prefill attention must compute, slowly and in double precision. For tests.
#ifndef TIDAL_KERNELS_REFERENCE_ATTENTION_PREFILL_H_
#define TIDAL_KERNELS_REFERENCE_ATTENTION_PREFILL_H_

#include <vector>

#include "kernels/attention/params.h"

namespace tidal::reference {

// [tokens, H, D].
std::vector<double> PrefillAttention(const PrefillAttentionParams& params);

}  // namespace tidal::reference

#endif  // TIDAL_KERNELS_REFERENCE_ATTENTION_PREFILL_H_
