// How the blocks that sample one row work together. Each block of a cluster holds a slice of the
// row, each of its warps a segment of the slice: blocks, warps, then elements are in the order of
// the token ids. Sums are taken in a fixed order and known to every thread bit for bit, so that
// all threads of a cluster take the same branches.
#ifndef TIDAL_KERNELS_CUDA_SAMPLING_CLUSTER_CUH_
#define TIDAL_KERNELS_CUDA_SAMPLING_CLUSTER_CUH_

#include <cooperative_groups.h>

#include <climits>
#include <cstdint>

#include "kernels/cuda/warp.cuh"

namespace tidal::cuda::sampling {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kMaxRanks = 8;             // blocks of a cluster
constexpr int kWarpStep = 128;           // elements a warp reads at a time, four a lane
constexpr int kListSize = 4 * kThreads;  // candidates that one block finishes alone

// What threads, warps and blocks add up; the meaning is the caller's.
struct alignas(16) Partial {
  double mass[3];
  int32_t count[3];
};

struct alignas(8) Entry {
  float value;
  int32_t id;
};

struct SharedState {
  Partial warps[2][kWarps];     // of this block
  Partial ranks[2][kMaxRanks];  // of the cluster's blocks
  Entry list[kListSize];        // rank 0: candidates by rising id
  bool had_nan;                 // among the logits of this block's slice
};

// A block's view of its row.
struct Slice {
  SharedState& shared;
  float* values;    // [kWarps * segment]; NaN past the end of the vocabulary
  int32_t begin;    // the id of values[0]
  int32_t segment;  // elements a warp, a multiple of kWarpStep
  int rank, ranks;  // this block's place in its cluster
  // Which copy of `shared.warps` and `shared.ranks` the next exchange writes. A thread can be at
  // most one exchange ahead of another, so that two copies do.
  int warps_copy = 0, ranks_copy = 0;
};

__device__ inline int Lane() { return static_cast<int>(threadIdx.x) % 32; }
__device__ inline int Warp() { return static_cast<int>(threadIdx.x) / 32; }

// Orders floats as integers; -0 comes right before +0. Its own inverse.
__device__ inline int32_t FlipNegative(int32_t bits) { return bits ^ ((bits >> 31) & INT_MAX); }
__device__ inline int32_t KeyOf(float x) { return FlipNegative(__float_as_int(x)); }
__device__ inline float OfKey(int32_t key) { return __int_as_float(FlipNegative(key)); }

// The same variable of another block.
template <typename T>
__device__ inline T* OfRank(T* mine, int rank, int ranks) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (ranks > 1) return cooperative_groups::this_cluster().map_shared_rank(mine, rank);
#endif
  return mine;
}

// Also orders the memory accesses of the cluster's threads.
__device__ inline void SyncCluster(int ranks) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (ranks > 1) {
    cooperative_groups::this_cluster().sync();
    return;
  }
#endif
  __syncthreads();
}

// The first exchange must wait until all blocks of the cluster run: Arrive early, Wait late.
__device__ inline void ArriveAtStart([[maybe_unused]] int ranks) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (ranks > 1) asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
__device__ inline void WaitForStart([[maybe_unused]] int ranks) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (ranks > 1) asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// Every block's `mine` (taken from the lanes of warp 0, which all hold it), by rank.
__device__ inline const Partial* Exchange(Slice& s, const Partial& mine) {
  Partial* slots = s.shared.ranks[s.ranks_copy];
  s.ranks_copy ^= 1;
  const int to = static_cast<int>(threadIdx.x);
  if (to < s.ranks) *OfRank(&slots[s.rank], to, s.ranks) = mine;
  SyncCluster(s.ranks);
  return slots;
}

// The block's sum, in every thread. Masses are added up as `Real`. `warps`, if given, receives the
// warps' sums, which stay until the second call after this one.
template <bool kMass, bool kCount, typename Real = double>
__device__ inline Partial SumBlock(Slice& s, Partial p, const Partial** warps = nullptr) {
#pragma unroll
  for (int j = 0; j < 3; ++j) {
    if constexpr (kCount) p.count[j] = __reduce_add_sync(kAllLanes, p.count[j]);
    if constexpr (kMass) {
      Real mass = static_cast<Real>(p.mass[j]);
#pragma unroll
      for (int d = 16; d > 0; d /= 2) mass += __shfl_xor_sync(kAllLanes, mass, d);
      p.mass[j] = static_cast<double>(mass);
    }
  }
  Partial* slots = s.shared.warps[s.warps_copy];
  s.warps_copy ^= 1;
  if (Lane() == 0) slots[Warp()] = p;
  __syncthreads();
  p = slots[Lane() % kWarps];
#pragma unroll
  for (int j = 0; j < 3; ++j) {
    // Both halves of the warp hold all warps' sums.
    if constexpr (kCount) p.count[j] = __reduce_add_sync(kAllLanes, p.count[j]) / 2;
    if constexpr (kMass) {
      Real mass = static_cast<Real>(p.mass[j]);
#pragma unroll
      for (int d = kWarps / 2; d > 0; d /= 2) mass += __shfl_xor_sync(kAllLanes, mass, d);
      p.mass[j] = static_cast<double>(mass);
    }
  }
  if (warps != nullptr) *warps = slots;
  return p;
}

// The cluster's sum, in every thread.
template <bool kMass, bool kCount, typename Real = double>
__device__ inline Partial SumCluster(Slice& s, const Partial& mine) {
  const Partial block = SumBlock<kMass, kCount, Real>(s, mine);
  if (s.ranks == 1) return block;
  const Partial* ranks = Exchange(s, block);
  Partial total = {};
  for (int r = 0; r < s.ranks; ++r) {
#pragma unroll
    for (int j = 0; j < 3; ++j) {
      if constexpr (kMass) total.mass[j] += ranks[r].mass[j];
      if constexpr (kCount) total.count[j] += ranks[r].count[j];
    }
  }
  return total;
}

// The block's smallest `a` and smallest `b`, in every thread.
__device__ inline int2 MinBlock(Slice& s, int32_t a, int32_t b) {
  Partial p = {};
  p.count[0] = __reduce_min_sync(kAllLanes, a);
  p.count[1] = __reduce_min_sync(kAllLanes, b);
  Partial* slots = s.shared.warps[s.warps_copy];
  s.warps_copy ^= 1;
  if (Lane() == 0) slots[Warp()] = p;
  __syncthreads();
  p = slots[Lane() % kWarps];
  return make_int2(__reduce_min_sync(kAllLanes, p.count[0]),
                   __reduce_min_sync(kAllLanes, p.count[1]));
}

// A largest value and the lowest id that has it; INT_MAX while the value is -infinity.
struct Best {
  int32_t key;
  int32_t id;
};

__device__ inline Best Better(Best a, Best b) {
  if (a.key != b.key) return a.key > b.key ? a : b;
  return a.id < b.id ? a : b;
}

__device__ inline Best BestOfWarp(Best mine) {
  const int32_t key = __reduce_max_sync(kAllLanes, mine.key);
  return {key, __reduce_min_sync(kAllLanes, mine.key == key ? mine.id : INT_MAX)};
}

// The block's best, in every thread.
__device__ inline Best BestOfBlock(Slice& s, Best mine) {
  mine = BestOfWarp(mine);
  Partial* slots = s.shared.warps[s.warps_copy];
  s.warps_copy ^= 1;
  if (Lane() == 0) {
    Partial p = {};
    p.count[0] = mine.key;
    p.count[1] = mine.id;
    slots[Warp()] = p;
  }
  __syncthreads();
  const Partial& p = slots[Lane() % kWarps];
  return BestOfWarp({p.count[0], p.count[1]});
}

// Calls quad(offset, values) for the lane's quads of its warp's segment, and flush() after every
// four of them. offset counts from the block's first value.
template <typename Quad, typename Flush>
__device__ inline void ForQuads(const Slice& s, const Quad& quad, const Flush& flush) {
  const int32_t first = Warp() * s.segment + 4 * Lane();
  for (int32_t i = 0; i < s.segment; i += 4 * kWarpStep) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int32_t step = i + j * kWarpStep;
      if (step < s.segment) {
        quad(first + step, *reinterpret_cast<const float4*>(s.values + first + step));
      }
    }
    flush();
  }
}

}  // namespace tidal::cuda::sampling

#endif  // TIDAL_KERNELS_CUDA_SAMPLING_CLUSTER_CUH_
