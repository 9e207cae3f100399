// From what attention leaves of every split to scores, and from the scores of a step to token sets.
#ifndef TIDAL_KERNELS_CPU_ATTENTION_SELECTION_H_
#define TIDAL_KERNELS_CPU_ATTENTION_SELECTION_H_

#include "kernels/attention/params.h"
#include "kernels/cpu/attention/attention_kernels.h"
#include "kernels/cpu/attention/decode_workspace.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/rank_params.h"
#include "kernels/ranks/rank_exchange.h"

namespace tidal::cpu {

// Writes the keys of the group's rows. Reads buffers.weights and buffers.factors (kSoftmaxSum) or
// buffers.max_logits (kMaxLogit).
void ScoreGroup(const PagedDecodeParams& params, const SelectTokensParams& select,
                const RowGroup& group, const SelectKernels& kernels, ThreadPool& pool,
                DecodeWorkspace::Buffers& buffers);

// The keys of the first `sparse_rows` rows become those of the scores over the heads of all
// `ranks`.
void ReduceKeys(const PagedDecodeParams& params, const SelectTokensParams& select,
                int32_t sparse_rows, RankSpan ranks, RankExchange& exchange,
                DecodeWorkspace::Buffers& buffers);

// Writes the sets of the first `sparse_rows` rows from their keys, which are overwritten.
void SelectSets(const PagedDecodeParams& params, const SelectTokensParams& select,
                int32_t sparse_rows, const SelectKernels& kernels, ThreadPool& pool,
                DecodeWorkspace::Buffers& buffers);

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_ATTENTION_SELECTION_H_
