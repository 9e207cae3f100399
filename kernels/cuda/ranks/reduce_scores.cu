// ReduceScores: between the pass that pools scores into keys and the selection among them. A key is
// its score, so the ranks exchange keys and leave the key of the sum, or of the largest.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/attention/score_pooling.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ranks/peer_words.cuh"
#include "kernels/cuda/ranks/rank_ops.h"

namespace tidal::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kQuadsInFlight = 4;  // of a thread

// The one set of every row.
struct Args {
  uint32_t* keys;
  const int32_t* row_begins;
  SelectionRule rule;
  RankSpan span;
  int32_t rows;
  int32_t slices;  // blocks that share a row
};

// Of a key that is not 0; NaN has that of -infinity.
__device__ inline float ScoreOfKey(uint32_t key) {
  return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key);
}

__device__ inline uint32_t Combine(bool sums, uint32_t a, uint32_t b) {
  if (a == 0 || b == 0) return 0;  // it does not compete, on no rank
  return sums ? ScoreKey(__fadd_rn(ScoreOfKey(a), ScoreOfKey(b))) : max(a, b);
}

__device__ inline uint4 Combine(bool sums, const uint4& a, const uint4& b) {
  return {Combine(sums, a.x, b.x), Combine(sums, a.y, b.y), Combine(sums, a.z, b.z),
          Combine(sums, a.w, b.w)};
}

// Some quads of the plane, kThreads * slices apart.
struct Batch {
  int32_t first, stride, end;

  // Calls visit(n, the quad) for up to kQuadsInFlight of them.
  template <typename Visit>
  __device__ void ForEach(const Visit& visit) const {
#pragma unroll
    for (int n = 0; n < kQuadsInFlight; ++n) {
      if (first + n * stride < end) visit(n, first + n * stride);
    }
  }
};

// Calls visit(batch) for this thread's share of the keys of all rows. Whether the block has any.
template <typename Visit>
__device__ inline bool ForEachBatch(const Args& args, const Visit& visit) {
  bool any = false;
  const int step = gridDim.x / args.slices;
  for (int row = blockIdx.x / args.slices; row < args.rows; row += step) {
    const SelectRange range = args.rule.Range(row);
    if (!range.NeedsScores()) continue;
    any = true;
    const int32_t begin = args.row_begins[row] / 4;
    const int32_t slice = blockIdx.x % args.slices;
    Batch batch;
    batch.stride = args.slices * kThreads;
    batch.end = begin + (range.end + 3) / 4;
    batch.first = begin + range.head / 4 + slice * kThreads + static_cast<int32_t>(threadIdx.x);
    for (; batch.first < batch.end; batch.first += kQuadsInFlight * batch.stride) visit(batch);
  }
  return any;
}

// Waits for nobody.
__global__ void __launch_bounds__(kThreads, 1)
    SendScoresKernel(LaunchMark mark, const __grid_constant__ Channel channel,
                     const __grid_constant__ Args args) {
  if (channel.let_next_start) LetNextKernelStart();
  WaitForPreviousKernel(mark);
  const Epoch epoch(channel);
  const auto* const keys = reinterpret_cast<const uint4*>(args.keys);
  ForEachBatch(args, [&](const Batch& batch) {
    uint4 mine[kQuadsInFlight];
    batch.ForEach([&](int n, int32_t quad) { mine[n] = keys[quad]; });
    for (int i = 1; i < args.span.count; ++i) {
      const int place = (channel.rank - args.span.first + i) % args.span.count;
      uint4* const outbox = epoch.Outbox(args.span.first + place);
      batch.ForEach([&](int n, int32_t quad) { Send(outbox + quad, mine[n]); });
    }
  });
}

__global__ void __launch_bounds__(kThreads, 1)
    CombineScoresKernel(LaunchMark mark, const __grid_constant__ Channel channel,
                        const __grid_constant__ Args args) {
  WaitForPreviousKernel(mark);
  Epoch epoch(channel);
  auto* const keys = reinterpret_cast<uint4*>(args.keys);
  const bool any = ForEachBatch(args, [&](const Batch& batch) {
    uint4 combined[kQuadsInFlight], words[kQuadsInFlight];
    for (int i = 0; i < args.span.count; ++i) {
      const int rank = args.span.first + i;
      if (rank == channel.rank) {
        batch.ForEach([&](int n, int32_t quad) { words[n] = keys[quad]; });
      } else {
        uint4* const inbox = epoch.Inbox(rank);
        batch.ForEach([&](int n, int32_t quad) { words[n] = Look(inbox + quad); });
        batch.ForEach([&](int n, int32_t quad) {
          while (!HasCome(words[n]) && epoch.LookAgain()) words[n] = Look(inbox + quad);
          Clear(inbox + quad);
        });
      }
      batch.ForEach([&](int n, int32_t) {
        combined[n] = i == 0 ? words[n] : Combine(args.rule.softmax_sum, combined[n], words[n]);
      });
    }
    batch.ForEach([&](int n, int32_t quad) { keys[quad] = combined[n]; });
  });
  epoch.Arrive(any);
}

using Kernel = void (*)(LaunchMark, Channel, Args);

void LaunchHalf(const char* name, Kernel kernel, cudaStream_t stream, int32_t max_blocks,
                const PagedDecodeParams& rows, const SelectTokensParams& select,
                const SelectionScores& scores, RankSpan ranks, const Channel& channel,
                DeviceContext& context) {
  if (ranks.count <= 1 || rows.rows <= 0) return;
  Args args{};
  args.keys = scores.keys;
  args.row_begins = scores.row_begins;
  args.rule = MakeSelectionRule(rows, select);
  args.span = ranks;
  args.rows = rows.rows;
  args.slices = std::max(max_blocks / rows.rows, 1);
  if (args.rule.sets != 1 || scores.head_stride > 4 * channel.slot_quads) {
    std::fprintf(stderr, "%s: more than one set, or more tokens than reserved for\n", name);
    std::abort();
  }
  const int32_t blocks = args.slices * std::min(rows.rows, max_blocks);
  Launch(context, name, kernel,
         {.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(kThreads), .stream = stream},
         channel, args);
}

}  // namespace

// The main stream has nothing else to do: as many blocks as there is place for.
void SendScores(const PagedDecodeParams& rows, const SelectTokensParams& select,
                const SelectionScores& scores, RankSpan ranks, const Channel& channel,
                DeviceContext& context) {
  LaunchHalf("SendScores", SendScoresKernel, context.stream, context.num_sms, rows, select, scores,
             ranks, channel, context);
}

void CombineScores(const PagedDecodeParams& rows, const SelectTokensParams& select,
                   const SelectionScores& scores, RankSpan ranks, const Channel& channel,
                   DeviceContext& context) {
  LaunchHalf("CombineScores", CombineScoresKernel, context.side_stream, channel.max_blocks, rows,
             select, scores, ranks, channel, context);
}

}  // namespace tidal::cuda
