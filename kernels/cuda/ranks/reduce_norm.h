// What the two ways of ReduceNorm have in common. They give the same bits.
#ifndef TIDAL_KERNELS_CUDA_RANKS_REDUCE_NORM_H_
#define TIDAL_KERNELS_CUDA_RANKS_REDUCE_NORM_H_

#include <cstdint>

#include "kernels/cuda/device_context.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ranks/channel.h"
#include "kernels/cuda/ranks/rank_ops.h"

namespace tidal::cuda::reduce_norm {

constexpr int kMaxThreads = 512;
constexpr int kGroup = 8;  // elements: 16 bytes on the link (shared_exponent.cuh)
constexpr int kMaxSegments = kMaxReducedHidden / (32 * kGroup);

struct Args {
  const float* partial;
  float* residual;
  const bfloat16* weight;
  void* out;
  int32_t rows, hidden;
  int32_t groups;          // of a row
  int32_t groups_a_block;  // a multiple of 32
  float epsilon;
  bool bf16_out;
  bool aligned;  // whole groups, aligned to 16 bytes
};

// How rows, or other items of `clusters`, are shared out.
struct Shares {
  LaunchShape launch;
  int32_t groups_a_block;
  int32_t groups_a_thread;  // 1, 2 or 4
};
// `items`: what clusters work on side by side.
Shares ShareOut(int32_t items, int32_t groups, const Channel& channel,
                const DeviceContext& context);

// Every rank sends its partials to all others: the least time for few rows. (ranks - 1) times the
// rows' 2 bytes an element leave each rank.
void LaunchOneShot(Args args, const Channel& channel, DeviceContext& context);
// How many rows it can take at a time.
int64_t OneShotRows(int32_t groups, const Channel& channel);

// Row i is summed up by rank i % ranks, which sends the sum, in float, to all others: 3 / ranks as
// many bytes, and twice over the link. Of many rows among four ranks or more.
bool PaysInTwoShots(const Args& args, const Channel& channel);
void LaunchTwoShot(Args args, const Channel& channel, DeviceContext& context);
int64_t TwoShotRows(int32_t groups, const Channel& channel);

}  // namespace tidal::cuda::reduce_norm

#endif  // TIDAL_KERNELS_CUDA_RANKS_REDUCE_NORM_H_
