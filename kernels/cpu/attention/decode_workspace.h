// What DecodeWorkspace holds. A group is the rows computed together: their splits, one row's after
// the other's, are numbered through, and every array below is indexed by that number.
#ifndef TIDAL_KERNELS_CPU_ATTENTION_DECODE_WORKSPACE_H_
#define TIDAL_KERNELS_CPU_ATTENTION_DECODE_WORKSPACE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "kernels/cpu/attention/paged_decode.h"

namespace tidal::cpu {

// Uninitialised memory on a cache line.
template <typename T>
class ScratchArray {
 public:
  ScratchArray() = default;
  ~ScratchArray() { operator delete(data_, kAlignment); }
  ScratchArray(const ScratchArray&) = delete;
  ScratchArray& operator=(const ScratchArray&) = delete;

  // False when the memory cannot be had. Call once.
  [[nodiscard]] bool Allocate(size_t count) {
    data_ = static_cast<T*>(operator new(count * sizeof(T), kAlignment, std::nothrow));
    return data_ != nullptr;
  }
  T* get() const { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  T* data_ = nullptr;
};

// Symbols as in kernels/attention/params.h; T = kSplitTokens, W = kWeightStride, N = max_splits.
struct DecodeWorkspace::Buffers {
  int32_t max_splits = 0;  // of a group; at least those of the longest row
  int32_t max_rows = 0;
  int32_t max_context_len = 0;

  ScratchArray<float> acc;                // [N, H, D]
  ScratchArray<float> max, sum, factors;  // [N, H]
  ScratchArray<float> weights;            // [N, H, W], when the weights outlive their split
  ScratchArray<float> max_logits;         // [N, KV, W]
  ScratchArray<uint32_t> keys;            // [KV, N * T]
  ScratchArray<float> worker_weights;     // [threads, H, W], when they do not
  ScratchArray<float> worker_row;         // [threads, D]
  ScratchArray<uint32_t> worker_keys;     // [threads, max_context_len + 16]

  ScratchArray<int32_t> split_row;                     // [N] row of each split
  ScratchArray<int32_t> first_split;                   // [max_rows + 1] of each row of the group
  std::unique_ptr<std::atomic<int32_t>[]> unfinished;  // [max_rows] work items left of a row
};

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_ATTENTION_DECODE_WORKSPACE_H_
