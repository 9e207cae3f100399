// From logits to tokens: sampling_params.h says how.
#ifndef TIDAL_KERNELS_SAMPLING_OPS_H_
#define TIDAL_KERNELS_SAMPLING_OPS_H_

#include "kernels/sampling_params.h"

namespace tidal {

class SamplingOps {
 public:
  virtual ~SamplingOps() = default;

  virtual void Sample(const SampleParams& params) = 0;
  // What Sample() would say of tokens that are known.
  virtual void TokenLogprobs(const TokenLogprobsParams& params) = 0;
  // After Sample() with the same params, where there are drafts: each one's slot takes over its
  // sampled tokens, up to the first that the draft does not have next.
  virtual void AcceptDrafts(const SampleParams& params) = 0;
  virtual void CountTokens(const CountTokensParams& params) = 0;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_SAMPLING_OPS_H_
