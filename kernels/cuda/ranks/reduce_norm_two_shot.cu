// ReduceNorm in two shots. Rows are taken in turns, one of each rank: of its own row a rank gets
// the others' partials and sends them the sum, which is the float that each would have made. The
// slots hold the partials of all turns, then the sums.
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ranks/reduce_norm.h"
#include "kernels/cuda/ranks/reduced_row.cuh"

namespace tidal::cuda::reduce_norm {
namespace {

// What the second way over the link takes, in bytes that could be sent meanwhile: some 2.5 us.
constexpr int64_t kBytesOfSecondShot = 1'000'000;

// The sum of the partials has no NaN but the one that additions make, so no word is kAbsent.
__device__ inline void SendSum(uint4* to, const Floats& sum) {
  const auto bits = [&](int i) { return __float_as_uint(sum.x[i]); };
  Send(to, {bits(0), bits(1), bits(2), bits(3)});
  Send(to + 1, {bits(4), bits(5), bits(6), bits(7)});
}

__device__ inline Floats GetSum(uint4* at, Epoch& epoch) {
  uint4 low = Look(at), high = Look(at + 1);
  while (!(HasCome(low) && HasCome(high)) && epoch.LookAgain()) {
    low = Look(at);
    high = Look(at + 1);
  }
  Clear(at);
  Clear(at + 1);
  return {__uint_as_float(low.x),  __uint_as_float(low.y),  __uint_as_float(low.z),
          __uint_as_float(low.w),  __uint_as_float(high.x), __uint_as_float(high.y),
          __uint_as_float(high.z), __uint_as_float(high.w)};
}

template <int kGroups, int kRanks>
__global__ void __launch_bounds__(kMaxThreads, 1)
    ReduceNormTwoShotKernel(LaunchMark mark, const __grid_constant__ Channel channel,
                            const __grid_constant__ Args args) {
  __shared__ float segments[2][kMaxSegments];  // of even and odd rows
  const BlockCluster cluster;
  ReducedRow<kGroups> reduced(args, cluster.rank() * args.groups_a_block);
  cluster.Arrive();
  reduced.LoadWeight();
  if (channel.let_next_start) LetNextKernelStart();
  WaitForPreviousKernel(mark);

  Epoch epoch(channel);
  const int ranks = channel.ranks, me = channel.rank;
  const int turns = (args.rows + ranks - 1) / ranks;
  const int64_t sums = int64_t{turns} * args.groups;  // where they begin in a slot
  const int clusters = gridDim.x >> cluster.log2_size();

  // The partials of a turn, to their ranks.
  const auto send_partials = [&](int turn) {
    for (int i = 1; i < ranks; ++i) {
      const int to = (me + i) % ranks, row = turn * ranks + to;
      if (row >= args.rows) continue;
      uint4* const outbox = epoch.Outbox(to) + int64_t{turn} * args.groups;
      reduced.ForEachGroup(
          [&](int, int group) { Send(outbox + group, reduced.Partial(row, group)); });
    }
  };

  int turn = blockIdx.x >> cluster.log2_size(), parity = 0;
  if (turn < turns) send_partials(turn);
  epoch.Arrive();
  cluster.Wait();  // all blocks of the cluster run, so their shared memory can be written
  for (; turn < turns; turn += clusters) {
    const int64_t begin = int64_t{turn} * args.groups;
    // The next turn is under way while this one is waited for.
    if (turn + clusters < turns) send_partials(turn + clusters);
    Floats mine[kGroups];
    const int own_row = turn * ranks + me;
    if (own_row < args.rows) {
      reduced.ForEachGroup([&](int j, int group) {
        mine[j] =
            SumOfRanks<kRanks>(channel, epoch, begin + group, reduced.Partial(own_row, group));
      });
      for (int i = 1; i < ranks; ++i) {
        uint4* const outbox = epoch.Outbox((me + i) % ranks) + sums + 2 * begin;
        reduced.ForEachGroup([&](int j, int group) { SendSum(outbox + 2 * group, mine[j]); });
      }
    }
    // This rank's own row first: its sum is here.
    for (int i = 0; i < ranks; ++i) {
      const int from = (me + ranks - i) % ranks, row = turn * ranks + from;
      if (row >= args.rows) continue;
      reduced.LoadResidual(row);
      uint4* const inbox = epoch.Inbox(from) + sums + 2 * begin;
      reduced.ForEachGroup([&](int j, int group) {
        reduced.Add(row, j, group, i == 0 ? mine[j] : GetSum(inbox + 2 * group, epoch));
      });
      reduced.Norm(row, cluster, segments[parity]);
      parity ^= 1;
    }
  }
}

}  // namespace

bool PaysInTwoShots(const Args& args, const Channel& channel) {
  const int64_t ranks = channel.ranks, bytes = int64_t{args.rows} * args.groups * sizeof(uint4);
  // Less (ranks - 1) copies of the rows by 3 / ranks of them.
  return ranks > 3 && args.groups <= 2 * kMaxThreads && TwoShotRows(args.groups, channel) > 0 &&
         (ranks - 1) * (ranks - 3) * bytes > ranks * kBytesOfSecondShot;
}

int64_t TwoShotRows(int32_t groups, const Channel& channel) {
  return channel.slot_quads / (3 * groups) * channel.ranks;
}

void LaunchTwoShot(Args args, const Channel& channel, DeviceContext& context) {
  const int32_t turns = (args.rows + channel.ranks - 1) / channel.ranks;
  const Shares shares = ShareOut(turns, args.groups, channel, context);
  args.groups_a_block = shares.groups_a_block;
  auto* const kernel =
      channel.ranks <= 4
          ? (shares.groups_a_thread == 1 ? ReduceNormTwoShotKernel<1, 4>
                                         : ReduceNormTwoShotKernel<2, 4>)
          : (shares.groups_a_thread == 1 ? ReduceNormTwoShotKernel<1, kMaxChannelRanks>
                                         : ReduceNormTwoShotKernel<2, kMaxChannelRanks>);
  Launch(context, "ReduceNorm", kernel, shares.launch, channel, args);
}

}  // namespace tidal::cuda::reduce_norm
