// Which tokens of a row are forced into its set, and which compete by score.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_SELECT_RANGE_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_SELECT_RANGE_CUH_

#include <cuda_runtime.h>

#include <cstdint>

namespace tidal::cuda {

// Forced members are a prefix and a suffix of the context, so the set is, in ascending order,
// [0, head), then `ranked` tokens of [head, end), then [end, context_len).
struct SelectRange {
  int32_t count = 0;  // tokens in the set; 0: no set is made for the row
  int32_t head = 0;
  int32_t end = 0;
  int32_t ranked = 0;

  // False where the forced members fill the set, or every token is in it.
  __host__ __device__ bool NeedsScores() const { return ranked > 0 && ranked < end - head; }
};

// Where forced members exceed the budget, the suffix (the current token, then recent ones from the
// newest) takes from it before the prefix does.
__host__ __device__ inline SelectRange MakeSelectRange(int32_t context_len, int32_t budget,
                                                       int32_t recency, int32_t sinks) {
  const auto min = [](int32_t a, int32_t b) { return a < b ? a : b; };
  SelectRange range;
  if (context_len <= 0 || budget <= 0) return range;
  range.count = min(budget, context_len);
  const int32_t tail = min(range.count, 1 + min(recency, context_len - 1));
  range.end = context_len - tail;
  range.head = min(min(sinks, range.end), range.count - tail);
  range.ranked = range.count - tail - range.head;
  return range;
}

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_SELECT_RANGE_CUH_
