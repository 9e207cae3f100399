// Attention and the selection of tokens: params.h says what each operation is.
#ifndef TIDAL_KERNELS_ATTENTION_ATTENTION_OPS_H_
#define TIDAL_KERNELS_ATTENTION_ATTENTION_OPS_H_

#include "kernels/attention/params.h"

namespace tidal {

class AttentionOps {
 public:
  virtual ~AttentionOps() = default;

  virtual void PrefillAttention(const PrefillAttentionParams& params) = 0;

  // Once a step, before its decode operations, which are called with these rows. Their block tables
  // are there by then, and of each row's tokens the K and V of all but the last.
  virtual void PlanDecode(const DecodeRows& rows) = 0;
  virtual void PagedDecode(const PagedDecodeParams& params) = 0;
  // PagedDecode, and the scores of its sparse rows, which come from the pass that reads K. Between
  // it and SelectTokens() is where ranks that share sets add up their scores.
  virtual void ScoringDecode(const PagedDecodeParams& params, const SelectTokensParams& select) = 0;
  // The token sets of the rows that the last ScoringDecode() scored, called with the same.
  virtual void SelectTokens(const PagedDecodeParams& params, const SelectTokensParams& select) = 0;
  virtual void SparseDecode(const SparseDecodeParams& params) = 0;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_ATTENTION_ATTENTION_OPS_H_
