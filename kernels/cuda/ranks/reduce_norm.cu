// ReduceNorm in one shot: every rank writes its partials into the memory of all others, adds up
// what arrives, and norms the row while it is in registers.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/bf16.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ranks/reduce_norm.h"
#include "kernels/cuda/ranks/reduced_row.cuh"

namespace tidal::cuda {
namespace reduce_norm {
namespace {

constexpr unsigned kMaxClusterSize = 8;  // what every device can schedule
// Of a thread: what fits its registers well, where a cluster can share a row, and where none can.
constexpr int kGroupsOfCluster = 2, kMaxGroups = 4;
static_assert(kMaxGroups * kMaxThreads * kGroup >= kMaxReducedHidden);

constexpr int32_t CeilDiv(int32_t x, int32_t y) { return (x + y - 1) / y; }

template <int kGroups, int kRanks>
__global__ void __launch_bounds__(kMaxThreads, 1)
    ReduceNormKernel(LaunchMark mark, const __grid_constant__ Channel channel,
                     const __grid_constant__ Args args) {
  __shared__ float segments[2][kMaxSegments];  // of even and odd turns
  const BlockCluster cluster;
  ReducedRow<kGroups> reduced(args, cluster.rank() * args.groups_a_block);
  cluster.Arrive();
  reduced.LoadWeight();
  if (channel.let_next_start) LetNextKernelStart();
  WaitForPreviousKernel(mark);

  Epoch epoch(channel);
  const auto send = [&](int row, uint4(&mine)[kGroups]) {
    reduced.ForEachGroup([&](int j, int group) { mine[j] = reduced.Partial(row, group); });
    const int64_t begin = int64_t{row} * args.groups;
#pragma unroll
    for (int i = 1; i < kRanks; ++i) {
      if (i >= channel.ranks) break;
      uint4* const outbox = epoch.Outbox((channel.rank + i) % channel.ranks) + begin;
      reduced.ForEachGroup([&](int j, int group) { Send(outbox + group, mine[j]); });
    }
  };
  const int clusters = gridDim.x >> cluster.log2_size();
  int row = blockIdx.x >> cluster.log2_size();
  uint4 mine[kGroups], next[kGroups];
  if (row < args.rows) send(row, mine);
  epoch.Arrive();
  cluster.Wait();  // all blocks of the cluster run, so their shared memory can be written
  for (int turn = 0; row < args.rows; row += clusters, turn ^= 1) {
    // The next row is under way while this one is waited for.
    if (row + clusters < args.rows) send(row + clusters, next);
    reduced.LoadResidual(row);
    reduced.ForEachGroup([&](int j, int group) {
      const int64_t at = int64_t{row} * args.groups + group;
      reduced.Add(row, j, group, SumOfRanks<kRanks>(channel, epoch, at, mine[j]));
    });
    reduced.Norm(row, cluster, segments[turn]);
#pragma unroll
    for (int j = 0; j < kGroups; ++j) mine[j] = next[j];
  }
}

template <int kGroups>
auto* KernelFor(int32_t ranks) {
  // Wide rows on a device without clusters: rare, so one for all.
  if constexpr (kGroups > kGroupsOfCluster) {
    return ReduceNormKernel<kGroups, kMaxChannelRanks>;
  } else {
    return ranks <= 2   ? ReduceNormKernel<kGroups, 2>
           : ranks <= 4 ? ReduceNormKernel<kGroups, 4>
                        : ReduceNormKernel<kGroups, kMaxChannelRanks>;
  }
}

}  // namespace

Shares ShareOut(int32_t items, int32_t groups, const Channel& channel,
                const DeviceContext& context) {
  // As many blocks a row as find room, of a warp at least: few rows are spread over many
  // multiprocessors, as one takes long to read and write a whole row.
  unsigned cluster = context.compute_capability >= 90 ? kMaxClusterSize : 1;
  while (cluster > 1 && groups <= kGroupsOfCluster * kMaxThreads * (cluster / 2) &&
         (int64_t{items} * cluster > channel.max_blocks || 32 * cluster > groups)) {
    cluster /= 2;
  }
  Shares shares;
  shares.groups_a_block = CeilDiv(CeilDiv(groups, static_cast<int32_t>(cluster)), 32) * 32;
  shares.groups_a_thread = 1;
  while (shares.groups_a_thread * kMaxThreads < shares.groups_a_block) shares.groups_a_thread *= 2;
  const int32_t threads = CeilDiv(CeilDiv(shares.groups_a_block, shares.groups_a_thread), 32) * 32;
  const auto clusters = std::min<unsigned>(items, std::max(channel.max_blocks / cluster, 1u));
  shares.launch = {.grid = dim3(clusters * cluster),
                   .block = dim3(static_cast<unsigned>(threads)),
                   .cluster_size = cluster};
  return shares;
}

int64_t OneShotRows(int32_t groups, const Channel& channel) { return channel.slot_quads / groups; }

void LaunchOneShot(Args args, const Channel& channel, DeviceContext& context) {
  const Shares shares = ShareOut(args.rows, args.groups, channel, context);
  args.groups_a_block = shares.groups_a_block;
  auto* const kernel = shares.groups_a_thread == 1   ? KernelFor<1>(channel.ranks)
                       : shares.groups_a_thread == 2 ? KernelFor<2>(channel.ranks)
                                                     : KernelFor<4>(channel.ranks);
  Launch(context, "ReduceNorm", kernel, shares.launch, channel, args);
}

}  // namespace reduce_norm

void ReduceNorm(const ReduceNormParams& p, const Channel& channel, DeviceContext& context) {
  reduce_norm::Args args{};
  args.weight = p.weight;
  args.rows = p.tokens;
  args.hidden = p.hidden;
  args.groups = (p.hidden + reduce_norm::kGroup - 1) / reduce_norm::kGroup;
  args.epsilon = p.epsilon;
  args.bf16_out = p.out_type == DType::kBF16;
  args.aligned =
      p.hidden % reduce_norm::kGroup == 0 && Aligned16(p.partial, p.residual, p.weight, p.out);
  if (p.hidden > kMaxReducedHidden || args.groups > channel.slot_quads) {
    std::fprintf(stderr, "ReduceNorm: rows of %d are too wide\n", p.hidden);
    std::abort();
  }
  const bool two_shots = reduce_norm::PaysInTwoShots(args, channel);
  const int64_t most = two_shots ? reduce_norm::TwoShotRows(args.groups, channel)
                                 : reduce_norm::OneShotRows(args.groups, channel);
  const auto piece = static_cast<int32_t>(std::min<int64_t>(most, INT32_MAX));
  for (int32_t begin = 0; begin < p.tokens; begin += args.rows) {
    const int64_t offset = int64_t{begin} * p.hidden;
    args.rows = std::min(piece, p.tokens - begin);
    args.partial = p.partial + offset;
    args.residual = p.residual + offset;
    args.out = static_cast<char*>(p.out) + offset * (args.bf16_out ? 2 : 4);
    if (two_shots) {
      LaunchTwoShot(args, channel, context);
    } else {
      LaunchOneShot(args, channel, context);
    }
  }
}

}  // namespace tidal::cuda
