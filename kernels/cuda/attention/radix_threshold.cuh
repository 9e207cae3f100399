// The k-th largest of the keys that the blocks of a cluster hold, exactly: 11, 11 and 10 bits at a
// time, each by a histogram of every block, summed over the cluster through distributed shared
// memory.
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_RADIX_THRESHOLD_CUH_
#define TIDAL_KERNELS_CUDA_ATTENTION_RADIX_THRESHOLD_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/block_cluster.cuh"
#include "kernels/cuda/warp.cuh"

namespace tidal::cuda {

constexpr int kRadixBins = 2048;
constexpr int kLog2RadixGroups = 6;
constexpr int kRadixGroups = 1 << kLog2RadixGroups;  // of 32 bins
static_assert(kRadixGroups * 32 == kRadixBins);
constexpr int kFirstRadixShift = 21;

// Where among the bins a key lies.
struct RadixDigit {
  uint32_t value;
  int32_t above;  // keys in higher bins
  int32_t count;  // keys in the bin
};

// Shared memory of one block. Bins are summed over the cluster in slices: block b of C sums bins
// [b, b + 1) * kRadixBins / C, whose sums are the first kRadixBins / C of its `sums`.
struct RadixShared {
  int32_t histogram[kRadixBins];
  int32_t sums[kRadixBins];
  int32_t group_sums[kRadixGroups];  // of 32 neighbouring bins of the slice
  RadixDigit digit;                  // the last that was found
};

// What is chosen: the keys above `key`, and the first `ties` of those equal to it.
struct RadixThreshold {
  uint32_t key;
  int32_t ties;
};

// All threads of a block of kThreads call these.
template <int kThreads>
class RadixSelect {
 public:
  __device__ RadixSelect(const BlockCluster& cluster, RadixShared& shared)
      : cluster_(cluster), shared_(shared) {}

  __device__ void ClearHistogram() {
    for (int i = threadIdx.x; i < kRadixBins; i += kThreads) shared_.histogram[i] = 0;
    __syncthreads();
  }

  // Before: ClearHistogram(), then each thread has Count()ed some keys. The keys other than 0
  // number more than `wanted`, which is 1 or more.
  __device__ void Count(uint32_t key) { Increment(key >> kFirstRadixShift); }

  // for_each_key(f) calls f(key) on this thread's share of the block's keys.
  template <typename ForEachKey>
  __device__ RadixThreshold Find(int32_t wanted, const ForEachKey& for_each_key) {
    uint32_t prefix = 0;
    int shift = kFirstRadixShift, bits = 11;
    while (true) {
      const RadixDigit digit = FindDigit(wanted);
      wanted -= digit.above;
      prefix = prefix << bits | digit.value;
      // All of this bin: no need to look closer. No score's key has a prefix of 0.
      if (digit.count == wanted) return {(prefix << shift) - 1, 0};
      if (shift == 0) return {prefix, wanted};
      bits = shift > 11 ? 11 : shift;
      const int prefix_shift = shift;
      shift -= bits;
      ClearHistogram();
      for_each_key([&](uint32_t key) {
        if (key >> prefix_shift == prefix) Increment(key >> shift & ((1u << bits) - 1));
      });
    }
  }

 private:
  __device__ void Increment(uint32_t bin) { atomicAdd(&shared_.histogram[bin], 1); }

  // The bin in which the `wanted`-th key from the top lies, in every thread of the cluster.
  //
  // On return no block reads another's histogram any more, but still its sums and group_sums: they
  // change after the next cluster barrier.
  __device__ RadixDigit FindDigit(int32_t wanted) {
    const int lane = threadIdx.x % 32;
    const int log2_groups = kLog2RadixGroups - cluster_.log2_size();
    const int groups = 1 << log2_groups;  // of a slice
    cluster_.Sync();
    for (int group = threadIdx.x / 32; group < groups; group += kThreads / 32) {
      const int bin = (cluster_.rank() * groups + group) * 32 + lane;
      int32_t sum = 0;
      // Each block begins with its own, so that they do not all ask the same one.
      for (int i = 0; i < cluster_.size(); ++i) {
        const int block = (cluster_.rank() + i) & (cluster_.size() - 1);
        sum += cluster_.Of(shared_.histogram, block)[bin];
      }
      shared_.sums[group * 32 + lane] = sum;
      sum = __reduce_add_sync(kAllLanes, sum);
      if (lane == 0) shared_.group_sums[group] = sum;
    }
    cluster_.Sync();
    // One warp a block: more would only wait for each other at the same few words.
    if (threadIdx.x < 32) {
      const RadixDigit digit = Search(wanted, log2_groups, lane);
      if (lane == 0) shared_.digit = digit;
    }
    __syncthreads();
    return shared_.digit;
  }

  // From the top: two groups a lane, then the bins of one group. The same in all lanes of a warp.
  __device__ RadixDigit Search(int32_t wanted, int log2_groups, int lane) const {
    const int groups = 1 << log2_groups;
    const auto group_sum = [&](int group) {
      return cluster_.Of(shared_.group_sums, group >> log2_groups)[group & (groups - 1)];
    };
    const int32_t upper = group_sum(kRadixGroups - 1 - 2 * lane);
    const int32_t lower = group_sum(kRadixGroups - 2 - 2 * lane);
    const int32_t through = InclusiveWarpSum(upper + lower, lane);
    int at = __ffs(__ballot_sync(kAllLanes, through >= wanted)) - 1;
    int32_t above = __shfl_sync(kAllLanes, through - upper - lower, at);
    const int32_t upper_at = __shfl_sync(kAllLanes, upper, at);
    int group = kRadixGroups - 1 - 2 * at;
    if (above + upper_at < wanted) {
      above += upper_at;
      --group;
    }

    const int32_t count =
        cluster_.Of(shared_.sums, group >> log2_groups)[(group & (groups - 1)) * 32 + 31 - lane];
    const int32_t bins_through = InclusiveWarpSum(count, lane);
    at = __ffs(__ballot_sync(kAllLanes, above + bins_through >= wanted)) - 1;
    return {static_cast<uint32_t>(group * 32 + 31 - at),
            above + __shfl_sync(kAllLanes, bins_through - count, at),
            __shfl_sync(kAllLanes, count, at)};
  }

  const BlockCluster cluster_;
  RadixShared& shared_;
};

}  // namespace tidal::cuda

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_RADIX_THRESHOLD_CUH_
