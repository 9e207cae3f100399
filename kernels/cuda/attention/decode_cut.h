// How decode attention cuts rows into splits: plain arithmetic, on the device and in tests.
//
// A split is a run of a row's tokens. How long it is depends on how much there is to read in all:
// long splits cost least, but every block of the device wants one, and none wants twice another's.
// Blocks with equal work finish up to 15 % apart, so under a large load rows end in short splits,
// the tail, which are dealt out last and to whoever is ready for one (decode_feed.cuh).
#ifndef TIDAL_KERNELS_CUDA_ATTENTION_DECODE_CUT_H_
#define TIDAL_KERNELS_CUDA_ATTENTION_DECODE_CUT_H_

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

namespace tidal::cuda::decode {

inline constexpr int32_t kMaxSplitTokens = 32768;
// Of rows whose logits are kept: so short that the device works on one long row, or a few rows, at
// a time, and their logits are pooled before they leave the L2 cache.
inline constexpr int32_t kMaxScoredSplitTokens = 4096;

// The tail of a row: kTailShare of its tokens, in 32nds, in splits of 1 / kTailPieces of a block's
// share of the whole load, but of kMinTailTokens at least. Where more than kMaxTailSplits would be
// needed, the tail is shorter.
inline constexpr int32_t kTailShare = 6;
inline constexpr int32_t kTailPieces = 64;
inline constexpr int32_t kMinTailTokens = 192;
inline constexpr int32_t kMaxTailSplits = 60;
// There are tails where a block reads so many tokens or more. Below, splits are short anyway, and
// starting and merging them is what counts. INT32_MAX: no tails.
inline constexpr int32_t kTailLoad = 4096;
// Rows of less than a block's load are short: most of them are best left whole, so the tail is
// every kShortRows-th of them, all of it.
inline constexpr int32_t kShortRows = 8;

// How long splits are.
struct SplitLengths {
  int32_t most = 0;        // tokens of a split that is not of the tail
  int32_t short_row = 0;   // rows of less tokens are short
  int32_t tail_share = 0;  // of a row, in 32nds; 0: there are no tails
  int32_t tail = 0;        // tokens of a split of the tail

  // Of one row of them all.
  __host__ __device__ SplitLengths OfRow(int32_t row, int32_t row_tokens) const {
    SplitLengths own = *this;
    if (row_tokens < short_row) {
      const bool is_tail = row % kShortRows == kShortRows - 1 && row_tokens >= 4 * tail;
      own.tail_share = is_tail ? 32 : 0;
    }
    return own;
  }
};

// Splits of equal length, a multiple of 16, but the last, which may be shorter.
struct SplitRun {
  int32_t begin = 0, end = 0;  // in the row; begin is a multiple of 16
  int32_t splits = 0;
  int32_t tokens = 0;  // of a split
};

// The splits of one row: long ones, then those of the tail.
struct RowCut {
  static constexpr int kRuns = 2;
  SplitRun runs[kRuns];
  int32_t num_splits = 0;
};

// How rows are cut. Every block of the device gets `rounds` splits if all are equally long.
struct SplitRule {
  int32_t blocks;  // that the device runs at a time
  int32_t num_kv_heads;

  static constexpr int32_t kMaxRounds = 8;
  // What a split costs beside its tokens, in tokens: its end, and its partial results.
  static constexpr int32_t kSplitCost = 64;

  // The most tokens of a split. A block in 33 may go without one: row lengths are often powers of
  // two, and numbers of blocks just above one.
  __host__ __device__ int32_t Share(int64_t all_tokens, int32_t rounds) const {
    const int64_t slots = int64_t{blocks} * rounds * 32 / 33;
    const int64_t share = (all_tokens * num_kv_heads + slots - 1) / slots;
    return share < kMaxSplitTokens ? static_cast<int32_t>(share) : kMaxSplitTokens;
  }
  // What the block with most to do costs, in tokens, where `all_tokens` tokens are cut into
  // `all_splits` splits for each KV head.
  __host__ __device__ int64_t Cost(int64_t all_tokens, int64_t all_splits) const {
    const int64_t splits = all_splits > 1 ? all_splits : 1;
    const int64_t rounds = (splits * num_kv_heads + blocks - 1) / blocks;
    return rounds * (all_tokens / splits + kSplitCost);
  }
  // The tails, where rows have `all_tokens` tokens in all. `most` is chosen after that.
  __host__ __device__ SplitLengths Tails(int64_t all_tokens) const {
    const int64_t load = all_tokens * num_kv_heads / blocks;
    const int64_t tail = load / kTailPieces;
    SplitLengths lengths;
    if (load < kTailLoad) return lengths;
    lengths.short_row = static_cast<int32_t>(load < INT32_MAX ? load : INT32_MAX);
    if (tail > kMaxSplitTokens) return lengths;
    lengths.tail_share = kTailShare;
    lengths.tail = tail > kMinTailTokens ? static_cast<int32_t>(tail) : kMinTailTokens;
    return lengths;
  }

  // Of a row that are for long splits, as far as their length goes by it: the tail of short rows is
  // rows like the others.
  __host__ __device__ int32_t ShareTokens(int32_t row_tokens, const SplitLengths& lengths) const {
    return row_tokens < lengths.short_row ? row_tokens : LongTokens(row_tokens, lengths);
  }
  // Of a row, those before its tail.
  __host__ __device__ int32_t LongTokens(int32_t row_tokens, const SplitLengths& lengths) const {
    const int32_t tail_tokens = TailTokens(row_tokens, lengths);
    return tail_tokens == 0 ? row_tokens : (row_tokens - tail_tokens) / 16 * 16;
  }
  __host__ __device__ RowCut Cut(int32_t row_tokens, const SplitLengths& lengths) const {
    RowCut cut;
    if (row_tokens == 0) return cut;
    const int32_t least = LeastTokens(row_tokens);
    const int32_t tail_begin = LongTokens(row_tokens, lengths);
    cut.runs[0] = CutRun(0, tail_begin, lengths.most < least ? least : lengths.most);
    cut.runs[1] = CutRun(tail_begin, row_tokens, lengths.tail);
    cut.num_splits = cut.runs[0].splits + cut.runs[1].splits;
    return cut;
  }

  // Splits of one row of up to `max_tokens` tokens: at most.
  int64_t MaxRowSplits(int32_t max_tokens) const {
    return std::min<int64_t>(DivideUp(max_tokens, LeastTokens(0)),
                             int64_t{blocks} * kMaxRounds / num_kv_heads + 1 +
                                 DivideUp(max_tokens, kMaxScoredSplitTokens) + kMaxTailSplits);
  }
  // Work items of up to `rows` rows of up to `max_tokens` tokens, of which `scored_tokens` are in
  // rows whose logits are kept: at most.
  int64_t MaxItems(int64_t rows, int32_t max_tokens, int64_t scored_tokens) const {
    const int64_t pairs = rows * num_kv_heads;
    // A block's load is kTailPieces splits, which may be of tails all (32 / 30: lengths are rounded
    // down), if the short rows that are cut are the longest; and every row's last split.
    const int64_t tail_items =
        int64_t{kMaxTailSplits} * num_kv_heads + pairs + blocks * kTailPieces * 32 / 30;
    return std::min(pairs * DivideUp(max_tokens, LeastTokens(0)),
                    pairs * DivideUp(max_tokens, kMaxSplitTokens) + int64_t{blocks} * kMaxRounds +
                        scored_tokens * num_kv_heads / kMaxScoredSplitTokens + tail_items);
  }

 private:
  // Of a split that is not alone. With few KV heads there are few splits, and shorter ones pay.
  __host__ __device__ int32_t LeastTokens(int32_t row_tokens) const {
    if (num_kv_heads < 8) return 64;
    const int32_t eighth = DivideUp(row_tokens, 8);
    return eighth < 128 ? 128 : eighth < 256 ? eighth : 256;
  }
  // Of a row, those of its tail.
  __host__ __device__ static int32_t TailTokens(int32_t row_tokens, const SplitLengths& lengths) {
    const int32_t share = DivideUp(row_tokens, 32) * lengths.tail_share;
    const int32_t most = lengths.tail * kMaxTailSplits;
    const int32_t tokens = share < most ? share : most;
    return tokens < row_tokens ? tokens : row_tokens;
  }
  // Into splits of up to `most` tokens.
  __host__ __device__ static SplitRun CutRun(int32_t begin, int32_t end, int32_t most) {
    if (begin == end) return {begin, end, 0, 0};
    const int32_t tokens = DivideUp(DivideUp(end - begin, DivideUp(end - begin, most)), 16) * 16;
    return {begin, end, DivideUp(end - begin, tokens), tokens};
  }
  __host__ __device__ static int32_t DivideUp(int32_t a, int32_t b) { return (a + b - 1) / b; }
};

}  // namespace tidal::cuda::decode

#endif  // TIDAL_KERNELS_CUDA_ATTENTION_DECODE_CUT_H_
