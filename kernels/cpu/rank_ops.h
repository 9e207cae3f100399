// The operations between ranks, through memory that they share.
#ifndef TIDAL_KERNELS_CPU_RANK_OPS_H_
#define TIDAL_KERNELS_CPU_RANK_OPS_H_

#include <cstdint>

#include "kernels/cpu/row_ops.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/rank_params.h"
#include "kernels/ranks/rank_exchange.h"

namespace tidal::cpu {

// When the group has failed they return at once, and what they should have written is not.
void ReduceNorm(const ReduceNormParams& params, const RowKernels& kernels, ThreadPool& pool,
                RankExchange& exchange);
void GatherColumns(const GatherColumnsParams& params, RankExchange& exchange);

}  // namespace tidal::cpu

#endif  // TIDAL_KERNELS_CPU_RANK_OPS_H_
