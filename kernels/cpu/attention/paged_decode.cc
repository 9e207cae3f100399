#include "kernels/cpu/attention/paged_decode.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>

#include "kernels/cpu/attention/attention_kernels.h"
#include "kernels/cpu/attention/decode_workspace.h"
#include "kernels/cpu/attention/selection.h"

namespace tidal::cpu {
namespace {

// Rows are grouped up to this many splits (256 K tokens), unless one row alone has more.
constexpr int32_t kGroupSplits = 512;
// With fewer splits a thread than this, KV heads are handed out one by one.
constexpr int32_t kSplitsPerThread = 2;

// Any of the three operations: over `tables`, or over `selection`'s tokens.
struct DecodeCall {
  const bfloat16* q;  // [rows, H, D]
  PagedKvCache kv;
  const BlockTables* tables;
  const TokenSelection* selection;
  void* out;  // [rows, H, D]
  DType out_type;
  int32_t rows;
  int32_t num_heads;
  float softmax_scale;
  int32_t window;  // of FirstVisible(), with `tables`
  // What a selection after it needs of every split.
  bool keep_weights, keep_max_logits;
};

// The first token of its context that row `row` attends to.
int32_t FirstToken(const DecodeCall& call, int32_t row) {
  return call.tables ? FirstVisible(call.tables->context_lens[row] - 1, call.window) : 0;
}

// Tokens row `row` attends to with KV head `kv`.
int32_t NumTokens(const DecodeCall& call, int32_t row, int32_t kv) {
  if (call.tables) return call.tables->context_lens[row] - FirstToken(call, row);
  const int32_t sets = NumSets(*call.selection, call.kv.num_kv_heads);
  return call.selection->counts[row * sets + (sets == 1 ? 0 : kv)];
}

int32_t NumSplits(const DecodeCall& call, int32_t row) {
  int32_t tokens = 1;
  for (int32_t kv = 0; kv < call.kv.num_kv_heads; ++kv) {
    tokens = std::max(tokens, NumTokens(call, row, kv));
  }
  return CeilDiv(tokens, kSplitTokens);
}

// Sparse rows come first.
int32_t NumSparseRows(const int32_t* token_budgets, int32_t rows) {
  return static_cast<int32_t>(std::find(token_budgets, token_budgets + rows, 0) - token_budgets);
}

// As many of the rows [begin, end) as fit.
RowGroup NextGroup(const DecodeCall& call, int32_t begin, int32_t end,
                   DecodeWorkspace::Buffers& buffers) {
  RowGroup group{begin, begin, 0};
  while (group.end < end && group.end - begin < buffers.max_rows) {
    const int32_t splits = NumSplits(call, group.end);
    if (group.end > begin && group.num_splits + splits > buffers.max_splits) break;
    const int32_t row_in_group = group.end - begin;
    buffers.first_split.get()[row_in_group] = group.num_splits;
    std::fill_n(buffers.split_row.get() + group.num_splits, splits, group.end);
    group.num_splits += splits;
    ++group.end;
  }
  buffers.first_split.get()[group.end - begin] = group.num_splits;
  return group;
}

// The splits' results of row `row` to its output, and what each split's weights have to be
// multiplied by to be probabilities.
void MergeRow(const DecodeCall& call, const RowGroup& group, int32_t row, int worker,
              const AttentionKernels& kernels, DecodeWorkspace::Buffers& buffers) {
  const int32_t heads = call.num_heads, dim = call.kv.head_dim;
  const int32_t first = buffers.first_split.get()[row - group.begin];
  const int32_t splits = buffers.first_split.get()[row - group.begin + 1] - first;
  float* const result = buffers.worker_row.get() + int64_t{worker} * dim;
  for (int32_t h = 0; h < heads; ++h) {
    const float* max = buffers.max.get() + int64_t{first} * heads + h;
    const float* sum = buffers.sum.get() + int64_t{first} * heads + h;
    float* factors = buffers.factors.get() + int64_t{first} * heads + h;
    float largest = max[0];
    for (int32_t s = 1; s < splits; ++s) largest = std::max(largest, max[s * heads]);
    float total = 0;
    for (int32_t s = 0; s < splits; ++s) {
      factors[s * heads] = std::exp2(max[s * heads] - largest);
      total += factors[s * heads] * sum[s * heads];
    }
    const float inverse = 1.0f / total;
    for (int32_t s = 0; s < splits; ++s) factors[s * heads] *= inverse;

    const float* acc = buffers.acc.get() + (int64_t{first} * heads + h) * dim;
    kernels.decode->combine(acc, int64_t{heads} * dim, factors, heads, splits, dim, result);
    const int64_t at = (int64_t{row} * heads + h) * dim;
    if (call.out_type == DType::kF32) {
      std::copy_n(result, dim, static_cast<float*>(call.out) + at);
    } else {
      std::transform(result, result + dim, static_cast<bfloat16*>(call.out) + at, ToBFloat16);
    }
  }
}

// Split number `split` of the group, for the KV heads [kv_begin, kv_end).
void AttendSplit(const DecodeCall& call, const RowGroup& group, int32_t split, int32_t kv_begin,
                 int32_t kv_end, int worker, const AttentionKernels& kernels,
                 DecodeWorkspace::Buffers& buffers) {
  const int32_t heads = call.num_heads;
  const int32_t row = buffers.split_row.get()[split];
  const int32_t start = (split - buffers.first_split.get()[row - group.begin]) * kSplitTokens;
  SplitTask task{};
  task.q = call.q + int64_t{row} * heads * call.kv.head_dim;
  task.k = call.kv.k;
  task.v = call.kv.v;
  if (call.tables) {
    const int32_t position = FirstToken(call, row) + start;
    task.blocks = call.tables->OfRow(row) + position / call.kv.block_size;
    task.block_offset = position % call.kv.block_size;
  } else {
    const int32_t sets = NumSets(*call.selection, call.kv.num_kv_heads);
    const int32_t set = sets == 1 ? 0 : kv_begin;
    task.slots = call.selection->slots + call.selection->SetBegin(row, set) + start;
  }
  task.num_tokens = std::clamp(NumTokens(call, row, kv_begin) - start, 0, kSplitTokens);
  task.kv_begin = kv_begin;
  task.kv_end = kv_end;
  task.num_kv_heads = call.kv.num_kv_heads;
  task.group_size = heads / call.kv.num_kv_heads;
  task.block_size = call.kv.block_size;
  task.head_dim = call.kv.head_dim;
  task.softmax_scale = call.softmax_scale;
  task.max = buffers.max.get() + int64_t{split} * heads;
  task.sum = buffers.sum.get() + int64_t{split} * heads;
  task.acc = buffers.acc.get() + int64_t{split} * heads * call.kv.head_dim;
  task.weights = call.keep_weights
                     ? buffers.weights.get() + int64_t{split} * heads * kWeightStride
                     : buffers.worker_weights.get() + int64_t{worker} * heads * kWeightStride;
  if (call.keep_max_logits) {
    task.max_logits =
        buffers.max_logits.get() + int64_t{split} * call.kv.num_kv_heads * kWeightStride;
  }
  kernels.decode->attend_split(task);
}

void AttendGroup(const DecodeCall& call, const RowGroup& group, const AttentionKernels& kernels,
                 ThreadPool& pool, DecodeWorkspace::Buffers& buffers) {
  const int32_t kv_heads = call.kv.num_kv_heads;
  const bool sets_differ = call.selection && NumSets(*call.selection, kv_heads) > 1;
  // Finer items change who computes what, never the arithmetic.
  const bool by_kv_head = sets_differ || (pool.num_threads() > 1 &&
                                          group.num_splits < kSplitsPerThread * pool.num_threads());
  const int32_t parts = by_kv_head ? kv_heads : 1;
  const int32_t heads_a_part = kv_heads / parts;
  for (int32_t row = group.begin; row < group.end; ++row) {
    const int32_t* first = buffers.first_split.get() + (row - group.begin);
    buffers.unfinished[row - group.begin].store((first[1] - first[0]) * parts,
                                                std::memory_order_relaxed);
  }
  pool.ParallelFor(group.num_splits * parts, [&](int32_t item, int worker) {
    const int32_t split = item / parts;
    const int32_t kv = item % parts * heads_a_part;
    AttendSplit(call, group, split, kv, kv + heads_a_part, worker, kernels, buffers);
    const int32_t row = buffers.split_row.get()[split];
    // Whoever finishes a row's last item merges the row.
    if (buffers.unfinished[row - group.begin].fetch_sub(1, std::memory_order_acq_rel) == 1) {
      MergeRow(call, group, row, worker, kernels, buffers);
    }
  });
}

void AttendRows(const DecodeCall& call, int32_t begin, int32_t end, const AttentionKernels& kernels,
                ThreadPool& pool, DecodeWorkspace::Buffers& buffers) {
  for (int32_t row = begin; row < end;) {
    const RowGroup group = NextGroup(call, row, end, buffers);
    AttendGroup(call, group, kernels, pool, buffers);
    row = group.end;
  }
}

DecodeCall CallOf(const PagedDecodeParams& params) {
  DecodeCall call{};
  call.q = params.q;
  call.kv = params.kv;
  call.tables = &params.tables;
  call.out = params.out;
  call.out_type = params.out_type;
  call.rows = params.rows;
  call.num_heads = params.num_heads;
  call.softmax_scale = params.softmax_scale;
  call.window = params.window;
  return call;
}

}  // namespace

const AttentionKernels& GetAttentionKernels(bool avx512_bf16) {
  static constexpr AttentionKernels kPortable{&kPortableDecodeKernels, &kPortableSelectKernels};
#if TIDAL_CPU_AVX512
  static constexpr AttentionKernels kAvx512{&kAvx512DecodeKernels, &kAvx512SelectKernels};
  if (avx512_bf16) return kAvx512;
#else
  (void)avx512_bf16;  // never true: the processor is not an x86
#endif
  return kPortable;
}

DecodeWorkspace::DecodeWorkspace() : buffers_(std::make_unique<Buffers>()) {}
DecodeWorkspace::~DecodeWorkspace() = default;

bool DecodeWorkspace::Reserve(const BackendLimits& limits, int num_threads) {
  Buffers& b = *buffers_;
  const int32_t row_splits = CeilDiv(limits.max_context_len, kSplitTokens);
  const int64_t all_splits = int64_t{limits.max_decode_rows} * row_splits;
  b.max_splits = static_cast<int32_t>(
      std::max<int64_t>(row_splits, std::min<int64_t>(all_splits, kGroupSplits)));
  b.max_rows = std::min(limits.max_decode_rows, b.max_splits);
  b.max_context_len = limits.max_context_len;
  b.score_stride = ScoreStride(limits.max_scored_tokens, limits.max_decode_rows);
  const size_t splits = b.max_splits, heads = limits.num_heads, threads = num_threads;
  const size_t kv_heads = limits.num_kv_heads, dim = limits.head_dim;
  b.acc = MakeAlignedArray<float>(splits * heads * dim);
  b.max = MakeAlignedArray<float>(splits * heads);
  b.sum = MakeAlignedArray<float>(splits * heads);
  b.factors = MakeAlignedArray<float>(splits * heads);
  b.weights = MakeAlignedArray<float>(splits * heads * kWeightStride);
  b.max_logits = MakeAlignedArray<float>(splits * kv_heads * kWeightStride);
  b.keys = MakeAlignedArray<uint32_t>(b.score_stride * kv_heads);
  b.worker_weights = MakeAlignedArray<float>(threads * heads * kWeightStride);
  b.worker_row = MakeAlignedArray<float>(threads * dim);
  b.candidates = MakeAlignedArray<int32_t>(b.score_stride * kv_heads);
  b.candidate_counts = MakeAlignedArray<int32_t>(b.score_stride * kv_heads / kScoreAlignment);
  b.worker_keys = MakeAlignedArray<uint32_t>(threads * (b.max_context_len + 16));
  b.split_row = MakeAlignedArray<int32_t>(splits);
  b.first_split = MakeAlignedArray<int32_t>(b.max_rows + 1);
  b.unfinished.reset(new (std::nothrow)
                         std::atomic<int32_t>[size_t{1} * limits.max_decode_rows * kv_heads]);
  return b.acc && b.max && b.sum && b.factors && b.weights && b.max_logits && b.keys &&
         b.candidates && b.candidate_counts && b.worker_weights && b.worker_row && b.worker_keys &&
         b.split_row && b.first_split && b.unfinished;
}

void PagedDecode(const PagedDecodeParams& params, const AttentionKernels& kernels, ThreadPool& pool,
                 DecodeWorkspace& workspace) {
  const DecodeCall call = CallOf(params);
  AttendRows(call, 0, call.rows, kernels, pool, workspace.buffers());
}

void ScoringDecode(const PagedDecodeParams& params, const SelectTokensParams& select,
                   const AttentionKernels& kernels, ThreadPool& pool, DecodeWorkspace& workspace) {
  DecodeCall call = CallOf(params);
  call.keep_weights = select.score == SelectionScore::kSoftmaxSum;
  call.keep_max_logits = select.score == SelectionScore::kMaxLogit;
  const int32_t sparse_rows = NumSparseRows(select.token_budgets, call.rows);
  for (int32_t row = 0; row < sparse_rows;) {
    const RowGroup group = NextGroup(call, row, sparse_rows, workspace.buffers());
    AttendGroup(call, group, kernels, pool, workspace.buffers());
    ScoreGroup(params, select, group, *kernels.select, pool, workspace.buffers());
    row = group.end;
  }
  AttendRows(CallOf(params), sparse_rows, call.rows, kernels, pool, workspace.buffers());
}

void ReduceScores(const PagedDecodeParams& params, const SelectTokensParams& select, RankSpan ranks,
                  RankExchange& exchange, DecodeWorkspace& workspace) {
  ReduceKeys(params, select, NumSparseRows(select.token_budgets, params.rows), ranks, exchange,
             workspace.buffers());
}

void SelectTokens(const PagedDecodeParams& params, const SelectTokensParams& select,
                  const AttentionKernels& kernels, ThreadPool& pool, DecodeWorkspace& workspace) {
  SelectSets(params, select, NumSparseRows(select.token_budgets, params.rows), *kernels.select,
             pool, workspace.buffers());
}

void SparseDecode(const SparseDecodeParams& params, const AttentionKernels& kernels,
                  ThreadPool& pool, DecodeWorkspace& workspace) {
  DecodeCall call{};
  call.q = params.q;
  call.kv = params.kv;
  call.selection = &params.selection;
  call.out = params.out;
  call.out_type = params.out_type;
  call.rows = params.rows;
  call.num_heads = params.num_heads;
  call.softmax_scale = params.softmax_scale;
  const int32_t sparse_rows = NumSparseRows(params.token_budgets, params.rows);
  AttendRows(call, 0, sparse_rows, kernels, pool, workspace.buffers());
  call.selection = nullptr;
  call.tables = &params.tables;
  AttendRows(call, sparse_rows, call.rows, kernels, pool, workspace.buffers());
}

}  // namespace tidal::cpu
