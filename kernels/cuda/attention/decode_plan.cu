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
  const int32_t length = args.rows.context_lens[row];
  if (kWork == Work::kWindowed) return length - FirstVisible(length - 1, args.window) / 16 * 16;
  const int32_t budget = kWork == Work::kReuse ? args.rows.token_budgets[row] : 0;
  return budget > 0 ? min(budget, length) : length;
}

// How the rows of a list are cut. The same in all lanes of a warp.
template <Work kWork>
class RowCutter {
 public:
  __device__ RowCutter(const PlanArgs& args, int lane) : args_(args) {
    // Rows that are scored are to be complete, and pooled, early: no tails.
    if constexpr (kWork != Work::kScoring) {
      int64_t tokens = 0;
      for (int row = lane; row < args.rows.rows; row += 32) tokens += TokensOf<kWork>(args, row);
      lengths_ = args.rule.Tails(SumOfWarp(tokens));
    }
    ChooseMost(lane);
  }

  __device__ RowCut Cut(int row) const {
    return args_.rule.Cut(TokensOf<kWork>(args_, row), LengthsOf(row, lengths_.most));
  }

 private:
  // Where splits may have up to `most` tokens.
  __device__ SplitLengths LengthsOf(int row, int32_t most) const {
    const bool scored = kWork == Work::kScoring && args_.rows.token_budgets[row] > 0;
    SplitLengths lengths = lengths_.OfRow(row, TokensOf<kWork>(args_, row));
    lengths.most = scored ? min(most, kMaxScoredSplitTokens) : most;
    return lengths;
  }

  // Chooses how long splits before the tails are: of 1, 2, 4 or 8 rounds, those that keep the block
  // with most to do busy for the shortest time. Longer splits waste less on their ends, shorter
  // ones less on blocks without work in the last round.
  __device__ void ChooseMost(int lane) {
    constexpr int kChoices = 4;
    static_assert(1 << (kChoices - 1) == SplitRule::kMaxRounds);
    int64_t tokens = 0, share_tokens = 0;
    for (int row = lane; row < args_.rows.rows; row += 32) {
      const int32_t row_tokens = TokensOf<kWork>(args_, row);
      const SplitLengths lengths = LengthsOf(row, 0);
      tokens += args_.rule.LongTokens(row_tokens, lengths);
      share_tokens += args_.rule.ShareTokens(row_tokens, lengths);
    }
    tokens = SumOfWarp(tokens);
    share_tokens = SumOfWarp(share_tokens);
    int32_t shares[kChoices], splits[kChoices] = {};
    for (int i = 0; i < kChoices; ++i) shares[i] = args_.rule.Share(share_tokens, 1 << i);
    for (int row = lane; row < args_.rows.rows; row += 32) {
      const int32_t row_tokens = TokensOf<kWork>(args_, row);
      for (int i = 0; i < kChoices; ++i) {
        splits[i] += args_.rule.Cut(row_tokens, LengthsOf(row, shares[i])).runs[0].splits;
      }
    }
    int64_t best_cost = INT64_MAX;
    for (int i = 0; i < kChoices; ++i) {
      const int64_t cost = args_.rule.Cost(tokens, __reduce_add_sync(kAllLanes, splits[i]));
      if (cost < best_cost) {
        best_cost = cost;
        lengths_.most = shares[i];
      }
    }
  }

  const PlanArgs& args_;
  SplitLengths lengths_;
};

__device__ void SumOfWarp(SplitCounts* counts) {
  for (int32_t& splits : counts->runs) splits = __reduce_add_sync(kAllLanes, splits);
}

// Writes the items of one row and where they lie: behind those of longer rows, and of lower rows of
// equal length.
template <Work kWork>
__device__ void WriteItems(const PlanArgs& args, const ItemList& list, int row, int lane) {
  const RowCutter<kWork> cutter(args, lane);
  const int32_t tokens = TokensOf<kWork>(args, row);
  const int32_t heads = args.rule.num_kv_heads;
  int32_t rows_before = 0;
  SplitCounts before, all;
  for (int other = lane; other < args.rows.rows; other += 32) {
    const int32_t other_tokens = TokensOf<kWork>(args, other);
    const RowCut cut = cutter.Cut(other);
    all.Add(cut);
    if (other_tokens > tokens || (other_tokens == tokens && other < row)) {
      before.Add(cut);
      ++rows_before;
    }
  }
  SumOfWarp(&before);
  SumOfWarp(&all);

  const RowCut cut = cutter.Cut(row);
  const bool sparse = args.rows.token_budgets[row] > 0;
  const int32_t visible =
      kWork == Work::kWindowed ? FirstVisible(args.rows.context_lens[row] - 1, args.window) : 0;
  const int32_t first_token =
      kWork == Work::kReuse && sparse ? args.rows.row_begins[row] : visible / 16 * 16;
  const int32_t slot = args.rows.sequence_slots[row];
  const int32_t first_result = before.Sum() * heads;
  for (int number = lane; number < cut.num_splits * heads; number += 32) {
    const PlacedItem placed = PlaceItem(cut, before, all, heads, number);
    DecodeItem item =
        DecodeItem::Make(row, slot, placed.kv_head, first_result + number,
                         first_token + placed.begin, placed.tokens, sparse, cut.num_splits);
    if (placed.split == 0) item.Hide(visible % 16);
    if (placed.split == cut.num_splits - 1) item.MarkEnd();
    list.items[placed.index] = item;
  }
  if constexpr (kWork == Work::kScoring) {
    rows_before = __reduce_add_sync(kAllLanes, rows_before);
    if (lane == 0) args.scoring_order[rows_before] = row;
  }
  if (lane == 0) {
    list.rows[row] = {first_result, cut.num_splits, sparse};
    if (row == 0) *list.count = all.Sum() * heads;
  }
}

// One warp a row and list: it looks at all rows to find where its own items begin, without waiting
// for any other warp.
__global__ void __launch_bounds__(kThreads)
    PlanKernel(LaunchMark mark, const __grid_constant__ PlanArgs args) {
  WaitForPreviousKernel(mark);
  LetNextKernelStart();
  const int lane = threadIdx.x % 32;
  const int warp = blockIdx.x * kWarps + threadIdx.x / 32;
  const int row = warp / kLists;
  if (row >= args.rows.rows) return;
  switch (static_cast<Work>(warp % kLists)) {
    case Work::kDense:
      return WriteItems<Work::kDense>(args, args.dense, row, lane);
    case Work::kScoring:
      return WriteItems<Work::kScoring>(args, args.scoring, row, lane);
    case Work::kReuse:
      return WriteItems<Work::kReuse>(args, args.reuse, row, lane);
    case Work::kWindowed:
      if (args.window > 0) WriteItems<Work::kWindowed>(args, args.windowed, row, lane);
  }
}

}  // namespace

void Plan(const PlanArgs& args, DeviceContext& context) {
  const unsigned blocks = (kLists * args.rows.rows + kWarps - 1) / kWarps;
  Launch(context, "PlanDecode", PlanKernel, {.grid = dim3(blocks), .block = dim3(kThreads)}, args);
}

}  // namespace tidal::cuda::decode
