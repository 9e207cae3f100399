// The operations between ranks, by kernels that write into each other's memory. Sums are made of
// the ranks' numbers in the order of the ranks, in float, whatever the shape: all ranks hold the
// same bits, and a row's do not depend on its batch.
//
// A kernel that waits for other ranks keeps its place on the device meanwhile, so its blocks are
// few enough to be there all at once, beside those of the other stream.
#ifndef TIDAL_KERNELS_CUDA_RANKS_RANK_OPS_H_
#define TIDAL_KERNELS_CUDA_RANKS_RANK_OPS_H_

#include "kernels/attention/params.h"
#include "kernels/cuda/attention/selection_scores.h"
#include "kernels/cuda/device_context.h"
#include "kernels/cuda/ranks/channel.h"
#include "kernels/rank_params.h"

namespace tidal::cuda {

// Aborts on a wider row.
inline constexpr int32_t kMaxReducedHidden = 16384;

// Enqueue on the context's stream, whose channel it is. In pieces of what a slot holds.
//
// Partials are rounded as shared_exponent.cuh says, this rank's own as well; their sum is not
// rounded.
void ReduceNorm(const ReduceNormParams& params, const Channel& channel, DeviceContext& context);
void GatherColumns(const GatherColumnsParams& params, const Channel& channel,
                   DeviceContext& context);

// ReduceScores in two halves: the keys that ScoringDecode left go to the other ranks of `ranks`, on
// the context's stream, which waits for nobody; what they send is added on the side stream, after
// that. So what the side stream waits for comes whatever the main streams wait for. The channel's
// slots hold all keys. `ranks` are the same at every call; one of them alone has nothing to do.
void SendScores(const PagedDecodeParams& rows, const SelectTokensParams& select,
                const SelectionScores& scores, RankSpan ranks, const Channel& channel,
                DeviceContext& context);
void CombineScores(const PagedDecodeParams& rows, const SelectTokensParams& select,
                   const SelectionScores& scores, RankSpan ranks, const Channel& channel,
                   DeviceContext& context);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_RANKS_RANK_OPS_H_
