// Decode attention of the CUDA back end: one query token a row over a paged KV cache.
//
// A row's tokens (its context, or its selection) are cut into splits, whose length depends on how
// much the whole batch reads; blocks compute one (row, KV head, split) after the other from a list
// that PlanDecode makes once a step; then the splits of a head are merged in order. Equal batches
// give equal bits, wherever their cache blocks lie and whichever block computes what.
//
// Bound: every K and V row is read once.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernels/attention/params.h"
#include "kernels/backend.h"
#include "kernels/cuda/attention/selection_scores.h"
#include "kernels/cuda/device_context.h"

namespace tidal::cuda {

inline constexpr int32_t kMaxGroup = 16;  // query heads of a KV head

// The head dimensions that there are kernels for, ascending.
std::span<const int32_t> DecodeHeadDims();
// Why there are none for this one, and which option of the build brings them; "" where there are.
std::string WhyUnsupportedHeadDim(int32_t head_dim);

// Work lists, partial results and scores: taken once, used by one operation at a time. Mostly
// max_scored_tokens * (2 H + 4 KV) bytes of scores.
class DecodeWorkspace {
 public:
  DecodeWorkspace();
  ~DecodeWorkspace();
  DecodeWorkspace(const DecodeWorkspace&) = delete;
  DecodeWorkspace& operator=(const DecodeWorkspace&) = delete;

  // Call once. False when the memory does not fit.
  [[nodiscard]] bool Reserve(const BackendLimits& limits, DeviceContext& context);

  struct Buffers;
  Buffers& buffers() { return *buffers_; }
  // What the last ScoringDecode wrote.
  SelectionScores scores() const;

 private:
  std::unique_ptr<Buffers> buffers_;
};

// Enqueue on the context's stream. Shapes that are not supported abort: head_dim and heads other
// than those reserved for, head_dim not among DecodeHeadDims(), H / KV above 16.
//
// The rows' contexts, token budgets and block tables are those of the last PlanDecode. From then on
// only the K and V of each row's last token are written: kernels begin to read the rest, and
// select.recency, while the operation before is still running. So does SparseDecode its selection:
// a launch that was made full comes between what wrote it and the operation, or is the operation.
void PlanDecode(const DecodeRows& rows, DecodeWorkspace& workspace, DeviceContext& context);
void PagedDecode(const PagedDecodeParams& params, DecodeWorkspace& workspace,
                 DeviceContext& context);
// PagedDecode, and the scores of the rows that have a token budget. `select`: of the selection that
// comes next.
void ScoringDecode(const PagedDecodeParams& params, const SelectTokensParams& select,
                   DecodeWorkspace& workspace, DeviceContext& context);
void SparseDecode(const SparseDecodeParams& params, DecodeWorkspace& workspace,
                  DeviceContext& context);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_H_
