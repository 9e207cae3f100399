// The second half of SelectingDecode: from what attention left of every split to token sets.
#ifndef TIDAL_KERNELS_CPU_ATTENTION_SELECT_GROUP_H_
#define TIDAL_KERNELS_CPU_ATTENTION_SELECT_GROUP_H_

#include "kernels/attention/params.h"
#include "kernels/cpu/attention/attention_kernels.h"
#include "kernels/cpu/attention/decode_workspace.h"
#include "kernels/cpu/thread_pool.h"

namespace tidal::cpu {

// Writes the sets of the group's rows. Reads buffers.weights and buffers.factors (kSoftmaxSum) or
// buffers.max_logits (kMaxLogit).
void SelectGroup(const PagedDecodeParams& params, const SelectTokensParams& select,
                 const RowGroup& group, const SelectKernels& kernels, ThreadPool& pool,
                 DecodeWorkspace::Buffers& buffers);

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_ATTENTION_SELECT_GROUP_H_
