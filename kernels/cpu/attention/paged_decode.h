// Decode attention of the CPU back end: one query token a row over a paged KV cache.
//
// A row's context (or its selection) is cut into splits of kSplitTokens tokens. Each split is
// attended to on its own and the splits are merged in order, so a row's result depends on nothing
// but the row: not on its batch, the number of threads or the physical blocks. A selection of the
// whole context gives bit for bit the result of PagedDecode.
//
// Cost: memory bandwidth. Every K and V row is read once, in the order of the blocks.
#ifndef TIDAL_KERNELS_CPU_ATTENTION_PAGED_DECODE_H_
#define TIDAL_KERNELS_CPU_ATTENTION_PAGED_DECODE_H_

#include <cstdint>
#include <memory>

#include "kernels/attention/params.h"
#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/rank_params.h"
#include "kernels/ranks/rank_exchange.h"

namespace tidal::cpu {

// The inner loops for one instruction set.
struct AttentionKernels;

// avx512_bf16: the caller has checked that the processor has AVX-512 F, BW, VL, DQ and BF16. The
// result is static. False gives plain C++.
const AttentionKernels& GetAttentionKernels(bool avx512_bf16);

// Scratch memory of the operations below, taken once. Holds nothing from one call to the next, but
// for the scores between ScoringDecode and SelectTokens.
class DecodeWorkspace {
 public:
  DecodeWorkspace();
  ~DecodeWorkspace();
  DecodeWorkspace(const DecodeWorkspace&) = delete;
  DecodeWorkspace& operator=(const DecodeWorkspace&) = delete;

  // For calls up to `limits` on a pool of num_threads. False when the memory cannot be had.
  // Rows that do not fit together are computed group by group, so the size is bounded whatever
  // max_decode_rows is.
  [[nodiscard]] bool Reserve(const BackendLimits& limits, int num_threads);

  struct Buffers;
  Buffers& buffers() { return *buffers_; }

 private:
  std::unique_ptr<Buffers> buffers_;
};

// Return when the outputs are written. `pool` and `workspace` are in use during the call.
void PagedDecode(const PagedDecodeParams& params, const AttentionKernels& kernels, ThreadPool& pool,
                 DecodeWorkspace& workspace);
void ScoringDecode(const PagedDecodeParams& params, const SelectTokensParams& select,
                   const AttentionKernels& kernels, ThreadPool& pool, DecodeWorkspace& workspace);
// Of the rows that ScoringDecode scored last, called with the same.
void ReduceScores(const PagedDecodeParams& params, const SelectTokensParams& select, RankSpan ranks,
                  RankExchange& exchange, DecodeWorkspace& workspace);
// The same.
void SelectTokens(const PagedDecodeParams& params, const SelectTokensParams& select,
                  const AttentionKernels& kernels, ThreadPool& pool, DecodeWorkspace& workspace);
void SparseDecode(const SparseDecodeParams& params, const AttentionKernels& kernels,
                  ThreadPool& pool, DecodeWorkspace& workspace);

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_ATTENTION_PAGED_DECODE_H_
