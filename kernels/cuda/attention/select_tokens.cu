#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/attention/radix_threshold.cuh"
#include "kernels/cuda/attention/select_range.cuh"
#include "kernels/cuda/attention/select_tokens.h"
#include "kernels/cuda/launch.cuh"

namespace tidal::cuda {
namespace {

constexpr int kSelectThreads = 512;
constexpr int kSelectWarps = kSelectThreads / 32;
constexpr unsigned kMaxClusterSize = 8;  // what every device can schedule
// Keys that a selecting block keeps in shared memory, in fours: 64 KB, so that two blocks fit an
// SM. The rest is read from global memory at every pass.
constexpr int kCachedQuads = 4096;
constexpr int kQuadsInFlight = 4;  // of a thread
struct SelectKernelParams {
  SelectionScores scores;
  SelectionRule rule;
  TokenSelection selection;
  BlockTables tables;
  int32_t block_shift;  // log2 of the tokens of a block
};

struct SelectShared {
  uint4 keys[kCachedQuads];
  RadixShared radix;
  // Keys above the threshold and keys equal to it: of each warp, and of them all.
  int2 chosen_by_warp[kSelectWarps];
  int2 chosen;
  int32_t out_begin, out_end;
};

// One set, by a cluster of blocks.
class SetSelector {
 public:
  __device__ SetSelector(const SelectKernelParams& params, SelectShared& shared, int32_t row,
                         int32_t set, int32_t context_len, const SelectRange& range)
      : params_(params),
        shared_(shared),
        row_(row),
        set_(set),
        context_len_(context_len),
        range_(range),
        radix_(cluster_, shared.radix) {
    const int64_t out = params.selection.SetBegin(row, set);
    positions_ = params.selection.positions + out;
    slots_ = params.selection.slots + out;
    blocks_ = params.tables.OfRow(row);
  }

  __device__ void Run() {
    if (cluster_.rank() == 0 && threadIdx.x == 0) {
      params_.selection.counts[int64_t{row_} * params_.rule.sets + set_] = range_.count;
    }
    if (!range_.NeedsScores()) {
      // Either no token is ranked or all are: then count is context_len.
      WriteForced(range_.head, range_.head);
      return;
    }
    const int32_t first_quad = range_.head / 4;
    const int32_t all_quads = (range_.end + 3) / 4 - first_quad;
    const int32_t quads_a_block = (all_quads + cluster_.size() - 1) >> cluster_.log2_size();
    const int32_t begin = min(cluster_.rank() * quads_a_block, all_quads);
    first_quad_ = first_quad + begin;
    quads_ = min(quads_a_block, all_quads - begin);
    keys_ = reinterpret_cast<const uint4*>(params_.scores.keys + set_ * params_.scores.head_stride +
                                           params_.scores.row_begins[row_]) +
            first_quad_;

    radix_.ClearHistogram();
    LoadKeys();
    const RadixThreshold threshold = radix_.Find(range_.ranked, [&](const auto& visit) {
      uint4 keys[kQuadsInFlight];
      for (int32_t i = threadIdx.x; i < quads_; i += kQuadsInFlight * kSelectThreads) {
        ReadQuads<kSelectThreads>(i, quads_, keys);
#pragma unroll
        for (const uint4& key : keys) {
          visit(key.x);
          visit(key.y);
          visit(key.z);
          visit(key.w);
        }
      }
    });
    WriteRanked(threshold);
  }

 private:
  __device__ void WriteSlot(int32_t index, int32_t position) {
    const int32_t shift = params_.block_shift;
    slots_[index] = (blocks_[position >> shift] << shift) + (position & ((1 << shift) - 1));
  }

  // Entries [0, head_end) of the set, which are the first tokens, and [tail_begin, count), which
  // are the last.
  __device__ void WriteForced(int32_t head_end, int32_t tail_begin) {
    const int32_t forced = head_end + range_.count - tail_begin;
    for (int32_t i = cluster_.rank() * kSelectThreads + threadIdx.x; i < forced;
         i += cluster_.size() * kSelectThreads) {
      const int32_t index = i < head_end ? i : i - head_end + tail_begin;
      const int32_t position = i < head_end ? i : context_len_ - range_.count + index;
      positions_[index] = position;
      WriteSlot(index, position);
    }
  }

  // The block's quads i, i + kStride and so on; from `end` on keys of 0.
  template <int kStride>
  __device__ void ReadQuads(int32_t i, int32_t end, uint4 (&keys)[kQuadsInFlight]) const {
#pragma unroll
    for (uint4& key : keys) {
      key = {0, 0, 0, 0};
      if (i < end) key = i < kCachedQuads ? shared_.keys[i] : keys_[i];
      i += kStride;
    }
  }

  __device__ void CountQuad(const uint4& key) {
    radix_.Count(key.x);
    radix_.Count(key.y);
    radix_.Count(key.z);
    radix_.Count(key.w);
  }

  // Fills the cache and the first histogram from keys in global memory.
  __device__ void LoadKeys() {
    for (int32_t first = threadIdx.x; first < quads_; first += kQuadsInFlight * kSelectThreads) {
      uint4 keys[kQuadsInFlight];
#pragma unroll
      for (int j = 0; j < kQuadsInFlight; ++j) {
        const int32_t i = first + j * kSelectThreads;
        if (i < quads_) keys[j] = keys_[i];
      }
#pragma unroll
      for (int j = 0; j < kQuadsInFlight; ++j) {
        const int32_t i = first + j * kSelectThreads;
        if (i >= quads_) break;
        if (i < kCachedQuads) shared_.keys[i] = keys[j];
        CountQuad(keys[j]);
      }
    }
  }

  // One bit a key of a quad.
  struct Match {
    uint32_t greater, equal;
  };
  __device__ static Match MatchQuad(const uint4& key, uint32_t threshold) {
    return {uint32_t{key.x > threshold} | uint32_t{key.y > threshold} << 1 |
                uint32_t{key.z > threshold} << 2 | uint32_t{key.w > threshold} << 3,
            uint32_t{key.x == threshold} | uint32_t{key.y == threshold} << 1 |
                uint32_t{key.z == threshold} << 2 | uint32_t{key.w == threshold} << 3};
  }

  // Each warp has a stretch of the block's quads. It counts what is chosen in it, adds up what is
  // chosen before it, and then knows where in the set its own tokens go.
  __device__ void WriteRanked(const RadixThreshold& threshold) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int32_t quads_a_warp = (quads_ + kSelectThreads - 1) / kSelectThreads * 32;
    const int32_t begin = min(warp * quads_a_warp, quads_);
    const int32_t end = min(begin + quads_a_warp, quads_);

    uint4 keys[kQuadsInFlight];
    int32_t greater = 0, equal = 0;
    for (int32_t i = begin; i < end; i += kQuadsInFlight * 32) {
      ReadQuads<32>(i + lane, end, keys);
#pragma unroll
      for (const uint4& key : keys) {
        const Match match = MatchQuad(key, threshold.key);
        greater += __popc(match.greater);
        equal += __popc(match.equal);
      }
    }
    greater = __reduce_add_sync(kAllLanes, greater);
    equal = __reduce_add_sync(kAllLanes, equal);
    if (lane == 0) shared_.chosen_by_warp[warp] = {greater, equal};
    __syncthreads();
    if (warp == 0) {
      const int2 chosen = lane < kSelectWarps ? shared_.chosen_by_warp[lane] : int2{0, 0};
      const int32_t all_greater = __reduce_add_sync(kAllLanes, chosen.x);
      const int32_t all_equal = __reduce_add_sync(kAllLanes, chosen.y);
      if (lane == 0) shared_.chosen = {all_greater, all_equal};
    }
    cluster_.Sync();

    // In the blocks before this one, and in the warps before this one.
    int2 before = lane < warp ? shared_.chosen_by_warp[lane] : int2{0, 0};
    if (lane < cluster_.rank()) {
      const int2 chosen = *cluster_.Of(&shared_.chosen, lane);
      before = {before.x + chosen.x, before.y + chosen.y};
    }
    greater = __reduce_add_sync(kAllLanes, before.x);
    equal = __reduce_add_sync(kAllLanes, before.y);
    cluster_.Arrive();  // done with the other blocks' memory
    WriteForced(range_.head, range_.head + range_.ranked);

    const auto index = [&](int32_t greater_before, int32_t equal_before) {
      return range_.head + greater_before + min(equal_before, threshold.ties);
    };
    if (threadIdx.x == 0) shared_.out_begin = index(greater, equal);
    for (int32_t first = begin; first < end; first += kQuadsInFlight * 32) {
      ReadQuads<32>(first + lane, end, keys);
#pragma unroll
      for (int n = 0; n < kQuadsInFlight; ++n) {
        const Match match = MatchQuad(keys[n], threshold.key);
        if (!__any_sync(kAllLanes, match.greater | match.equal)) continue;
        // Two counts, of at most 128 each, in one sum.
        const int32_t mine = __popc(match.greater) | __popc(match.equal) << 16;
        const int32_t through = InclusiveWarpSum(mine, lane);
        int32_t greater_before = greater + ((through - mine) & 0xffff);
        int32_t equal_before = equal + ((through - mine) >> 16);
        const int32_t position = (first_quad_ + first + n * 32 + lane) * 4;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const bool is_greater = match.greater >> j & 1, is_equal = match.equal >> j & 1;
          if (is_greater || (is_equal && equal_before < threshold.ties)) {
            positions_[index(greater_before, equal_before)] = position + j;
          }
          greater_before += is_greater;
          equal_before += is_equal;
        }
        const int32_t all = __shfl_sync(kAllLanes, through, 31);
        greater += all & 0xffff;
        equal += all >> 16;
      }
    }
    if (threadIdx.x == kSelectThreads - 1) shared_.out_end = index(greater, equal);
    __syncthreads();

    // Apart from the above, so that the lookups run side by side however the tokens are spread.
    for (int32_t i = shared_.out_begin + threadIdx.x; i < shared_.out_end; i += kSelectThreads) {
      WriteSlot(i, positions_[i]);
    }
    cluster_.Wait();  // the others are done with this block's memory
  }

  const SelectKernelParams& params_;
  SelectShared& shared_;
  const BlockCluster cluster_;
  const int32_t row_, set_, context_len_;
  const SelectRange range_;
  RadixSelect<kSelectThreads> radix_;
  int32_t* positions_;  // of the set
  int32_t* slots_;
  const int32_t* blocks_;
  // The block's part of the candidates.
  int32_t first_quad_ = 0, quads_ = 0;
  const uint4* keys_ = nullptr;
};

__global__ void __launch_bounds__(kSelectThreads, 2)
    SelectTokensKernel(LaunchMark mark, const __grid_constant__ SelectKernelParams params) {
  extern __shared__ uint4 memory[];
  WaitForPreviousKernel(mark);
  const int32_t task = blockIdx.x >> BlockCluster().log2_size();
  const int32_t row = task / params.rule.sets;
  const SelectRange range = params.rule.Range(row);
  if (task % params.rule.sets == 0 && BlockCluster().rank() == 0 && threadIdx.x == 0) {
    params.scores.splits_scored[row] = 0;  // for the next pass
  }
  if (range.count == 0) return;  // all blocks of the cluster
  SetSelector(params, *reinterpret_cast<SelectShared*>(memory), row, task % params.rule.sets,
              params.tables.context_lens[row], range)
      .Run();
}

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "SelectTokens: %s\n", what);
  std::abort();
}

int32_t Log2(int32_t x) {
  int32_t log = 0;
  while ((1 << log) < x) ++log;
  return log;
}

}  // namespace

SelectionRule MakeSelectionRule(const PagedDecodeParams& rows, const SelectTokensParams& select) {
  SelectionRule rule{};
  rule.context_lens = rows.tables.context_lens;
  rule.token_budgets = select.token_budgets;
  rule.recency = select.recency;
  rule.sinks = select.sinks;
  rule.sets =
      select.selection.granularity == SelectionGranularity::kShared ? 1 : rows.kv.num_kv_heads;
  rule.heads = rows.num_heads / rule.sets;
  rule.softmax_sum = select.score == SelectionScore::kSoftmaxSum;
  if (rule.heads * rule.sets != rows.num_heads) Fail("KV heads do not divide the heads");
  return rule;
}

void SelectTokens(const PagedDecodeParams& rows, const SelectTokensParams& select,
                  const SelectionScores& scores, cudaStream_t stream, DeviceContext& context) {
  SelectKernelParams params{};
  params.scores = scores;
  params.rule = MakeSelectionRule(rows, select);
  params.selection = select.selection;
  params.tables = rows.tables;
  params.block_shift = Log2(rows.kv.block_size);
  if (1 << params.block_shift != rows.kv.block_size) Fail("block size is not a power of two");
  if (scores.head_stride % 4 != 0) Fail("the distance of planes is not a multiple of 4");

  // Many sets fill the device with small clusters, whose blocks wait less for each other.
  const int32_t tasks = rows.rows * params.rule.sets;
  if (tasks == 0) return;
  unsigned cluster_size = context.compute_capability >= 90 ? kMaxClusterSize : 1;
  while (cluster_size > 1 && int64_t{tasks} * cluster_size > context.num_sms) {
    cluster_size /= 2;
  }

  if (!context.Check(
          cudaFuncSetAttribute(SelectTokensKernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(sizeof(SelectShared))),
          "SelectTokens")) {
    return;
  }
  LaunchShape shape;
  shape.grid = dim3(tasks * cluster_size);
  shape.block = dim3(kSelectThreads);
  shape.shared_bytes = sizeof(SelectShared);
  shape.cluster_size = cluster_size;
  shape.stream = stream;
  Launch(context, "SelectTokens", SelectTokensKernel, shape, params);
}

}  // namespace tidal::cuda
