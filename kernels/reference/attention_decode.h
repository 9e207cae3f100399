// What decode attention and token selection must compute, slowly and in double precision. For
// tests.
#ifndef TIDAL_KERNELS_REFERENCE_ATTENTION_DECODE_H_
#define TIDAL_KERNELS_REFERENCE_ATTENTION_DECODE_H_

#include <cstdint>
#include <vector>

#include "kernels/attention/params.h"

namespace tidal::reference {

// [rows, H, D].
std::vector<double> PagedDecode(const PagedDecodeParams& params);
std::vector<double> SparseDecode(const SparseDecodeParams& params);

// The scores of row `row` by position, one vector of context_len scores for each of its sets.
std::vector<std::vector<double>> SelectionScores(const PagedDecodeParams& params,
                                                 SelectionGranularity granularity,
                                                 SelectionScore score, int32_t row);

// The positions chosen, ascending, by a full sort. A NaN score ranks lowest, level with -infinity.
std::vector<int32_t> SelectTokens(const std::vector<double>& scores, int32_t token_budget,
                                  int32_t sinks, int32_t recency);

}  // namespace tidal::reference

#endif  // TIDAL_KERNELS_REFERENCE_ATTENTION_DECODE_H_
