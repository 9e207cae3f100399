// The operations between ranks: rank_params.h says what each is. A back end that was made without a
// group has none of them.
#ifndef TIDAL_KERNELS_RANK_OPS_H_
#define TIDAL_KERNELS_RANK_OPS_H_

#include "kernels/attention/params.h"
#include "kernels/rank_params.h"

namespace tidal {

class RankOps {
 public:
  virtual ~RankOps() = default;

  virtual void ReduceNorm(const ReduceNormParams& params) = 0;
  virtual void GatherColumns(const GatherColumnsParams& params) = 0;
  // Between ScoringDecode() and SelectTokens(), called with the same: each token's score becomes
  // that over the heads of all of `ranks`: the sum of theirs, or the largest. Every rank calls it
  // with the span it belongs to.
  virtual void ReduceScores(const PagedDecodeParams& params, const SelectTokensParams& select,
                            RankSpan ranks) = 0;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_RANK_OPS_H_
