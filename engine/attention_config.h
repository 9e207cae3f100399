// How a model's decode attention is made sparse: what tidal.json, flags and requests may set.
#ifndef TIDAL_ENGINE_ATTENTION_CONFIG_H_
#define TIDAL_ENGINE_ATTENTION_CONFIG_H_

#include <cstdint>
#include <string>

#include "kernels/attention/params.h"

namespace tidal {

struct SparseAttentionConfig {
  // One character a layer: D dense, S select, R reuse, A anchor (docs/sparse_attention.md).
  std::string pattern;
  SelectionGranularity granularity = SelectionGranularity::kShared;
  SelectionScore score = SelectionScore::kSoftmaxSum;
  int32_t sinks = 4;               // first tokens always kept
  float recency_fraction = 0.25f;  // of the budget, tokens before the current one always kept
  int32_t token_budget = 2048;     // default of a request
  int32_t dense_below = 0;         // contexts up to max(budget, this) are read whole
  int32_t correction_period = 0;   // > 0: re-run this many sparsely decoded tokens as a dense chunk
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_ATTENTION_CONFIG_H_
