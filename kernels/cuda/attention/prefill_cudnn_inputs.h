// What cuDNN wants to know of a call's sequences, in device memory.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_CUDNN_INPUTS_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_CUDNN_INPUTS_H_

#include <cstdint>

#include "kernels/attention/params.h"
#include "kernels/cuda/device_context.h"

namespace tidal::cuda {

// Of `batch` sequences. Those beyond the call's have no queries.
struct CudnnPrefillInputs {
  int32_t* query_lens;    // [batch]
  int32_t* context_lens;  // [batch]
  int32_t* row_offsets;   // [batch + 1], elements from q's start to a sequence's first token
  // [batch, pages], blocks of the cache. Past a context: blocks of the same call's sequences, which
  // hold numbers.
  int32_t* page_table;
  int32_t batch, pages;
};

// Enqueues: fills `inputs` for the sequences from `first` on, and zeroes the slots behind each
// context in its last block, because cuDNN multiplies what lies there by zero. No other sequence
// uses those slots: the last block of a context holds a token of this step, so it is the sequence's
// own.
void MakeCudnnPrefillInputs(const PrefillAttentionParams& params, int32_t first,
                            const CudnnPrefillInputs& inputs, DeviceContext& context);

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_PREFILL_CUDNN_INPUTS_H_
