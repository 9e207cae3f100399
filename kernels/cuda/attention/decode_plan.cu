#include "kernels/attention/params.h"
#include "kernels/cuda/attention/decode_plan.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/warp.cuh"

namespace tidal::cuda::decode {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

__device__ int64_t SumOfWarp(int64_t x) {
  for (int distance = 16; distance > 0; distance /= 2) {
    x += __shfl_xor_sync(kAllLanes, x, distance);
  }
  return x;
}

enum class Work : uint8_t { kDense, kScoring, kReuse, kWindowed };
constexpr int kLists = 4;

// Tokens of a row that are read.
template <Work kWork>
__device__ int32_t TokensOf(const PlanArgs& args, int row) {
  const int32_t length = args.context_lens[row];
  if (kWork == Work::kWindowed) return length - FirstVisible(length - 1, args.window) / 16 * 16;
  const int32_t budget = kWork == Work::kReuse ? args.token_budgets[row] : 0;
  return budget > 0 ? min(budget, length) : length;
}

template <Work kWork>
__device__ RowCut CutRow(const PlanArgs& args, int row, int32_t share) {
  const bool scored = kWork == Work::kScoring && args.token_budgets[row] > 0;
  return args.rule.Cut(TokensOf<kWork>(args, row),
                       scored ? min(share, kMaxScoredSplitTokens) : share);
}

// Chooses how long splits are: of 1, 2, 4 or 8 rounds, those that keep the block with most to do
// busy for the shortest time. Longer splits waste less on their ends, shorter ones less on blocks
// without work in the last round.
template <Work kWork>
__device__ int32_t ChooseShare(const PlanArgs& args, int lane) {
  constexpr int kChoices = 4;
  static_assert(1 << (kChoices - 1) == SplitRule::kMaxRounds);
  int64_t tokens = 0;
  for (int row = lane; row < args.rows; row += 32) tokens += TokensOf<kWork>(args, row);
  tokens = SumOfWarp(tokens);
  int32_t shares[kChoices], splits[kChoices] = {};
  for (int i = 0; i < kChoices; ++i) shares[i] = args.rule.Share(tokens, 1 << i);
  for (int row = lane; row < args.rows; row += 32) {
    for (int i = 0; i < kChoices; ++i) splits[i] += CutRow<kWork>(args, row, shares[i]).num_splits;
  }
  int32_t best_share = shares[0];
  int64_t best_cost = INT64_MAX;
  for (int i = 0; i < kChoices; ++i) {
    const int64_t all_splits = max(__reduce_add_sync(kAllLanes, splits[i]), 1);
    const int64_t rounds =
        (all_splits * args.rule.num_kv_heads + args.rule.blocks - 1) / args.rule.blocks;
    const int64_t cost = rounds * (tokens / all_splits + SplitRule::kSplitCost);
    if (cost < best_cost) {
      best_cost = cost;
      best_share = shares[i];
    }
  }
  return best_share;
}

// Writes the items of one row and where they lie: behind those of longer rows, and of lower rows of
// equal length.
template <Work kWork>
__device__ void WriteItems(const PlanArgs& args, const ItemList& list, int row, int lane) {
  const int32_t share = ChooseShare<kWork>(args, lane);
  const int32_t tokens = TokensOf<kWork>(args, row);
  const int32_t heads = args.rule.num_kv_heads;
  int32_t rows_before = 0, splits_before = 0, all_splits = 0;
  for (int other = lane; other < args.rows; other += 32) {
    const int32_t other_tokens = TokensOf<kWork>(args, other);
    const int32_t splits = CutRow<kWork>(args, other, share).num_splits;
    all_splits += splits;
    if (other_tokens > tokens || (other_tokens == tokens && other < row)) {
      splits_before += splits;
      ++rows_before;
    }
  }
  const int32_t first = __reduce_add_sync(kAllLanes, splits_before) * heads;
  all_splits = __reduce_add_sync(kAllLanes, all_splits);

  const RowCut cut = CutRow<kWork>(args, row, share);
  const bool sparse = args.token_budgets[row] > 0;
  const int32_t visible =
      kWork == Work::kWindowed ? FirstVisible(args.context_lens[row] - 1, args.window) : 0;
  for (int i = lane; i < cut.num_splits * heads; i += 32) {
    const int32_t split = i / heads;
    const int32_t begin = split * cut.tokens;
    DecodeItem item = DecodeItem::Make(row, i - split * heads, split, visible / 16 * 16 + begin,
                                       min(cut.tokens, tokens - begin), sparse, cut.num_splits);
    if (split == 0) item.Hide(visible % 16);
    list.items[first + i] = item;
  }
  if constexpr (kWork == Work::kScoring) {
    rows_before = __reduce_add_sync(kAllLanes, rows_before);
    if (lane == 0) args.scoring_order[rows_before] = row;
  }
  if (lane == 0) {
    list.rows[row] = {first, cut.num_splits, sparse};
    if (row == 0) *list.count = all_splits * heads;
  }
}

__device__ void WriteRowOffset(const PlanArgs& args, int row, int lane) {
  int64_t scored_before = 0;
  for (int other = lane; other < row; other += 32) {
    if (args.token_budgets[other] > 0)
      scored_before += (args.context_lens[other] + 127) / 128 * 128;
  }
  scored_before = SumOfWarp(scored_before);
  if (lane == 0) args.row_offsets[row] = scored_before;
}

// One warp a row and list: it looks at all rows to find where its own items begin, without waiting
// for any other warp.
__global__ void __launch_bounds__(kThreads) PlanKernel(const __grid_constant__ PlanArgs args) {
  WaitForPreviousKernel();
  LetNextKernelStart();
  const int lane = threadIdx.x % 32;
  const int warp = blockIdx.x * kWarps + threadIdx.x / 32;
  const int row = warp / kLists;
  if (row >= args.rows) return;
  switch (static_cast<Work>(warp % kLists)) {
    case Work::kDense:
      return WriteItems<Work::kDense>(args, args.dense, row, lane);
    case Work::kScoring:
      WriteItems<Work::kScoring>(args, args.scoring, row, lane);
      return WriteRowOffset(args, row, lane);
    case Work::kReuse:
      return WriteItems<Work::kReuse>(args, args.reuse, row, lane);
    case Work::kWindowed:
      if (args.window > 0) WriteItems<Work::kWindowed>(args, args.windowed, row, lane);
  }
}

}  // namespace

void Plan(const PlanArgs& args, DeviceContext& context) {
  const unsigned blocks = (kLists * args.rows + kWarps - 1) / kWarps;
  Launch(context, "PlanDecode", PlanKernel, {.grid = dim3(blocks), .block = dim3(kThreads)}, args);
}

}  // namespace tidal::cuda::decode
