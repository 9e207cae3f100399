#include "kernels/cuda/attention/decode_plan.h"
#include "kernels/cuda/launch.cuh"

namespace tidal::cuda::decode {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ int64_t SumOfWarp(int64_t x) {
  for (int distance = 16; distance > 0; distance /= 2) {
    x += __shfl_xor_sync(kAllLanes, x, distance);
  }
  return x;
}

// Writes the items of a row of `tokens` tokens from list.items[first] on.
__device__ void WriteItems(const ItemList& list, int64_t first, int row, int tokens, bool sparse,
                           int num_kv_heads, const SplitRule& rule, int lane) {
  if (tokens == 0) return;
  const int split_tokens = rule.SplitTokens(tokens);
  const int num_splits = (tokens + split_tokens - 1) / split_tokens;
  for (int i = lane; i < num_splits * num_kv_heads; i += 32) {
    const int split = i / num_kv_heads;
    const int begin = split * split_tokens;
    list.items[first + i] = DecodeItem::Make(row, i - split * num_kv_heads, split, begin,
                                             min(split_tokens, tokens - begin), sparse, num_splits);
  }
}

// One warp a row: it looks at all rows to find where its own items begin, without waiting for any
// other warp.
__global__ void __launch_bounds__(kThreads) PlanKernel(const PlanArgs args) {
  WaitForPreviousKernel();
  LetNextKernelStart();
  const int lane = threadIdx.x % 32;
  const int row = blockIdx.x * kWarps + threadIdx.x / 32;
  if (row >= args.rows) return;
  const int length = args.context_lens[row];
  const int budget = args.token_budgets[row];
  const int reused = budget > 0 ? min(budget, length) : length;

  // Items of the rows before this one in each list's order (longest first, then lowest row), items
  // of all rows, and scored tokens of the lower rows.
  int64_t dense_before = 0, dense_all = 0, reuse_before = 0, reuse_all = 0, scored_before = 0;
  for (int other = lane; other < args.rows; other += 32) {
    const int other_length = args.context_lens[other];
    const int other_budget = args.token_budgets[other];
    const int other_reused = other_budget > 0 ? min(other_budget, other_length) : other_length;
    const int dense_items = args.rule.NumSplits(other_length) * args.num_kv_heads;
    const int reuse_items = args.rule.NumSplits(other_reused) * args.num_kv_heads;
    const bool lower = other < row;
    dense_all += dense_items;
    reuse_all += reuse_items;
    if (other_length > length || (other_length == length && lower)) dense_before += dense_items;
    if (other_reused > reused || (other_reused == reused && lower)) reuse_before += reuse_items;
    if (lower && other_budget > 0) scored_before += (other_length + 15) / 16 * 16;
  }
  dense_before = SumOfWarp(dense_before);
  reuse_before = SumOfWarp(reuse_before);
  dense_all = SumOfWarp(dense_all);
  reuse_all = SumOfWarp(reuse_all);
  scored_before = SumOfWarp(scored_before);

  WriteItems(args.dense, dense_before, row, length, budget > 0, args.num_kv_heads, args.rule, lane);
  WriteItems(args.reuse, reuse_before, row, reused, budget > 0, args.num_kv_heads, args.rule, lane);
  if (lane == 0) {
    args.dense.rows[row] = {static_cast<int32_t>(dense_before), args.rule.NumSplits(length),
                            budget > 0};
    args.reuse.rows[row] = {static_cast<int32_t>(reuse_before), args.rule.NumSplits(reused),
                            budget > 0};
    args.row_offsets[row] = scored_before;
    if (row == 0) {
      *args.dense.count = static_cast<int32_t>(dense_all);
      *args.reuse.count = static_cast<int32_t>(reuse_all);
    }
  }
}

}  // namespace

void Plan(const PlanArgs& args, DeviceContext& context) {
  const unsigned blocks = (args.rows + kWarps - 1) / kWarps;
  Launch(context, "PlanDecode", PlanKernel, {.grid = dim3(blocks), .block = dim3(kThreads)}, args);
}

}  // namespace tidal::cuda::decode
