// Causal attention of prompt chunks over the paged cache, in the order of work of FlashAttention-2
// (Dao, 2023): a tile of queries passes over the keys tile by tile with an online softmax.
//
// Key tiles begin at fixed positions of the context and a query row meets its tiles in order, so
// a row's result does not depend on how its prompt was cut into chunks. Keys after a row's own
// position never touch it, whatever their bits; so do keys before its window.
//
// Cost: 4 * D operations for each pair of a query row and a key it sees.
#ifndef TIDAL_KERNELS_CPU_ATTENTION_PREFILL_H_
#define TIDAL_KERNELS_CPU_ATTENTION_PREFILL_H_

#include <cstdint>
#include <memory>

#include "kernels/attention/params.h"
#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"

namespace tidal::cpu {

// Scratch memory, taken once, bounded by the head shape. Holds nothing from one call to the next.
class PrefillWorkspace {
 public:
  PrefillWorkspace();
  ~PrefillWorkspace();
  PrefillWorkspace(const PrefillWorkspace&) = delete;
  PrefillWorkspace& operator=(const PrefillWorkspace&) = delete;

  // For the heads of `limits` on a pool of num_threads. False when the memory cannot be had.
  [[nodiscard]] bool Reserve(const BackendLimits& limits, int num_threads);

  struct Buffers;
  Buffers& buffers() { return *buffers_; }

 private:
  std::unique_ptr<Buffers> buffers_;
};

// Returns when the outputs are written. avx512_bf16: the caller has checked that the processor has
// it; false runs plain C++.
void PrefillAttention(const PrefillAttentionParams& params, bool avx512_bf16, ThreadPool& pool,
                      PrefillWorkspace& workspace);

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_ATTENTION_PREFILL_H_
