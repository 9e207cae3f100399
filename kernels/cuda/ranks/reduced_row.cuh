// A row of ReduceNorm, worked on by a cluster of blocks, eight elements (a group) a thread at a
// time.
//
// Its sum of squares is made of the sums of 32 neighbouring groups (a segment), always in one
// order: how many blocks and threads share a row does not change its bits.
#ifndef TIDAL_KERNELS_CUDA_RANKS_REDUCED_ROW_CUH_
#define TIDAL_KERNELS_CUDA_RANKS_REDUCED_ROW_CUH_

#include <cstdint>

#include "kernels/cuda/bf16.cuh"
#include "kernels/cuda/block_cluster.cuh"
#include "kernels/cuda/ranks/peer_words.cuh"
#include "kernels/cuda/ranks/rank_ops.h"
#include "kernels/cuda/ranks/reduce_norm.h"
#include "kernels/cuda/ranks/shared_exponent.cuh"
#include "kernels/cuda/warp.cuh"

namespace tidal::cuda::reduce_norm {

static_assert(kGroup == 8);

__device__ inline Floats Unpack(const uint4& pairs) {
  return {LowBFloat16(pairs.x), HighBFloat16(pairs.x), LowBFloat16(pairs.y), HighBFloat16(pairs.y),
          LowBFloat16(pairs.z), HighBFloat16(pairs.z), LowBFloat16(pairs.w), HighBFloat16(pairs.w)};
}

__device__ inline uint4 Pack(const Floats& f) {
  return {PackBFloat16(f.x[0], f.x[1]), PackBFloat16(f.x[2], f.x[3]), PackBFloat16(f.x[4], f.x[5]),
          PackBFloat16(f.x[6], f.x[7])};
}

__device__ inline void AddTo(Floats& sum, const Floats& next) {
#pragma unroll
  for (int i = 0; i < kGroup; ++i) sum.x[i] = __fadd_rn(sum.x[i], next.x[i]);
}

// The sum of a group's partials in the order of the ranks: this rank's, and what the others have
// written, or will, to quad `at` of their slots. Up to kRanks ranks.
template <int kRanks>
__device__ inline Floats SumOfRanks(const Channel& channel, Epoch& epoch, int64_t at,
                                    const uint4& mine) {
  const auto is_other = [&](int rank) { return rank < channel.ranks && rank != channel.rank; };
  uint4 came[kRanks];
#pragma unroll
  for (int rank = 0; rank < kRanks; ++rank) {
    came[rank] = mine;
    if (is_other(rank)) came[rank] = Look(epoch.Inbox(rank) + at);
  }
  while (true) {
    bool all = true;
#pragma unroll
    for (int rank = 0; rank < kRanks; ++rank) all &= !is_other(rank) || HasCome(came[rank]);
    if (all || !epoch.LookAgain()) break;
#pragma unroll
    for (int rank = 0; rank < kRanks; ++rank) {
      if (is_other(rank) && !HasCome(came[rank])) came[rank] = Look(epoch.Inbox(rank) + at);
    }
  }
  Floats sum = FromSharedExponent(came[0]);
#pragma unroll
  for (int rank = 0; rank < kRanks; ++rank) {
    if (is_other(rank)) Clear(epoch.Inbox(rank) + at);
    if (rank > 0 && rank < channel.ranks) AddTo(sum, FromSharedExponent(came[rank]));
  }
  return sum;
}

// One thread's groups of a row: kGroups of them, of which it may have fewer.
template <int kGroups>
class ReducedRow {
 public:
  // first_group: of the block.
  __device__ ReducedRow(const Args& args, int first_group)
      : args_(args), first_group_(first_group) {}

  // Calls visit(j, the group's number in the row).
  template <typename Visit>
  __device__ void ForEachGroup(const Visit& visit) const {
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      if (HasGroup(j)) visit(j, first_group_ + Place(j));
    }
  }

  // Of what earlier kernels do not write.
  __device__ void LoadWeight() {
    ForEachGroup([&](int j, int group) {
      if (args_.aligned) {
        weight_[j] = __ldg(reinterpret_cast<const uint4*>(args_.weight) + group);
        return;
      }
      Floats weight;
      ForEachElement(group, [&](int i, int column) {
        weight.x[i] = column < args_.hidden ? BFloat16ToFloat(args_.weight[column]) : 0.0f;
      });
      weight_[j] = Pack(weight);
    });
  }

  __device__ uint4 Partial(int row, int group) const {
    return ShareExponent(Load(args_.partial, row, group));
  }

  __device__ void LoadResidual(int row) {
    ForEachGroup([&](int j, int group) { values_[j] = Load(args_.residual, row, group); });
  }

  // The sum of the ranks' partials of group j.
  __device__ void Add(int row, int j, int group, const Floats& sum) {
    AddTo(values_[j], sum);
    Store(args_.residual, row, group, values_[j]);
  }

  // segments: [kMaxSegments] in shared memory, not those of the row before.
  __device__ void Norm(int row, const BlockCluster& cluster, float* segments) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      const float sum = WarpSum(SumOfSquares(j));
      // To all blocks of the cluster. A warp beyond its block's groups has those of the next.
      const int segment = (first_group_ + Place(j)) / 32;
      if (Place(j) < args_.groups_a_block && segment * 32 < args_.groups && lane < cluster.size()) {
        *cluster.Of(&segments[segment], lane) = sum;
      }
    }
    cluster.Sync();
    float total = 0.0f;
    for (int i = lane; i * 32 < args_.groups; i += 32) total += segments[i];
    total = WarpSum(total);
    const float scale = 1.0f / sqrtf(total / static_cast<float>(args_.hidden) + args_.epsilon);
    ForEachGroup([&](int j, int group) {
      const Floats weight = Unpack(weight_[j]);
      Floats normed;
#pragma unroll
      for (int i = 0; i < kGroup; ++i) normed.x[i] = values_[j].x[i] * scale * weight.x[i];
      if (args_.bf16_out) {
        Store(static_cast<bfloat16*>(args_.out), row, group, normed);
      } else {
        Store(static_cast<float*>(args_.out), row, group, normed);
      }
    });
  }

 private:
  __device__ int Place(int j) const { return threadIdx.x + j * blockDim.x; }
  __device__ bool HasGroup(int j) const {
    return Place(j) < args_.groups_a_block && first_group_ + Place(j) < args_.groups;
  }

  template <typename Visit>
  __device__ static void ForEachElement(int group, const Visit& visit) {
#pragma unroll
    for (int i = 0; i < kGroup; ++i) visit(i, group * kGroup + i);
  }

  __device__ static float WarpSum(float x) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
      x += __shfl_xor_sync(kAllLanes, x, distance);
    }
    return x;
  }

  // 0 where the thread has no group j.
  __device__ float SumOfSquares(int j) const {
    float sum = 0.0f;
    if (!HasGroup(j)) return sum;
#pragma unroll
    for (int i = 0; i < kGroup; ++i) sum = __fmaf_rn(values_[j].x[i], values_[j].x[i], sum);
    return sum;
  }

  __device__ Floats Load(const float* rows, int row, int group) const {
    const float* const from = rows + int64_t{row} * args_.hidden;
    Floats f;
    if (args_.aligned) {
      const auto* const quads = reinterpret_cast<const float4*>(from + group * kGroup);
      const float4 low = quads[0], high = quads[1];
      return {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    }
    ForEachElement(
        group, [&](int i, int column) { f.x[i] = column < args_.hidden ? from[column] : 0.0f; });
    return f;
  }

  template <typename T>
  __device__ void Store(T* rows, int row, int group, const Floats& f) const {
    T* const to = rows + int64_t{row} * args_.hidden;
    if (args_.aligned) {
      Store4(to + group * kGroup, make_float4(f.x[0], f.x[1], f.x[2], f.x[3]));
      Store4(to + group * kGroup + 4, make_float4(f.x[4], f.x[5], f.x[6], f.x[7]));
      return;
    }
    ForEachElement(group, [&](int i, int column) {
      if (column < args_.hidden) cuda::Store(to + column, f.x[i]);
    });
  }

  const Args& args_;
  const int first_group_;
  uint4 weight_[kGroups];
  Floats values_[kGroups];  // the residual
};

}  // namespace tidal::cuda::reduce_norm

#endif  // TIDAL_KERNELS_CUDA_RANKS_REDUCED_ROW_CUH_
