// A set is chosen part by part: a part of the context keeps its own best tokens, as many as the
// whole set wants; the best of all parts' candidates are the set. The outcome is the same however
// the context is cut.
#include "kernels/cpu/attention/selection.h"

#include <algorithm>

#include "kernels/cpu/attention/select_tokens.h"

namespace tidal::cpu {
namespace {

// Tokens of a part, at least: below, the threads' meeting costs more than they save.
constexpr int32_t kMinPartTokens = 4 * kSplitTokens;
static_assert(kMinPartTokens % kScoreAlignment == 0);

// One set of one row, as the operations' parameters and the workspace describe it.
class RowSet {
 public:
  RowSet(const PagedDecodeParams& params, const SelectTokensParams& select,
         DecodeWorkspace::Buffers& buffers, int32_t row, int32_t set)
      : begin_(set * buffers.score_stride + select.selection.row_begins[row]), buffers_(buffers) {
    const int64_t at = select.selection.SetBegin(row, set);
    task_.keys = keys();
    task_.blocks = params.tables.OfRow(row);
    task_.block_size = params.kv.block_size;
    task_.context_len = params.tables.context_lens[row];
    task_.token_budget = select.token_budgets[row];
    task_.sinks = select.sinks;
    task_.recency = select.recency[row];
    task_.positions = select.selection.positions + at;
    task_.slots = select.selection.slots + at;
    range_ = RankedRangeOf(task_);
  }

  const SelectTask& task() const { return task_; }
  const RankedRange& range() const { return range_; }
  // Does it choose among tokens, or take all there are?
  bool ranks() const { return range_.wanted < range_.end - range_.begin; }
  int32_t context_len() const { return task_.context_len; }

  // By position; those of a part's candidates lie at the part's start.
  uint32_t* keys() const { return &buffers_.keys[begin_]; }
  int32_t* candidates() const { return &buffers_.candidates[begin_]; }
  int32_t& CandidateCount(int32_t part_start) const {
    return buffers_.candidate_counts[(begin_ + part_start) / kScoreAlignment];
  }

 private:
  const int64_t begin_;
  DecodeWorkspace::Buffers& buffers_;
  SelectTask task_{};
  RankedRange range_{};
};

class SetSelector {
 public:
  SetSelector(const PagedDecodeParams& params, const SelectTokensParams& select,
              int32_t sparse_rows, const SelectKernels& kernels, DecodeWorkspace::Buffers& buffers)
      : params_(params),
        select_(select),
        sparse_rows_(sparse_rows),
        kernels_(kernels),
        buffers_(buffers),
        sets_(NumSets(select.selection, params.kv.num_kv_heads)) {}

  void Run(ThreadPool& pool) {
    const int32_t num_sets = sparse_rows_ * sets_;
    if (num_sets == 0) return;
    const int32_t longest =
        *std::max_element(params_.tables.context_lens, params_.tables.context_lens + sparse_rows_);
    const int32_t even = CeilDiv(longest, CeilDiv(pool.num_threads(), num_sets));
    part_tokens_ = std::max(kMinPartTokens, CeilDiv(even, kMinPartTokens) * kMinPartTokens);
    const int32_t parts = std::max(1, CeilDiv(longest, part_tokens_));
    for (int32_t i = 0; i < num_sets; ++i) {
      buffers_.unfinished[i].store(parts, std::memory_order_relaxed);
    }
    pool.ParallelFor(num_sets * parts, [&](int32_t item, int worker) {
      const int32_t number = item / parts;
      const int32_t row = number / sets_, set = number % sets_;
      const RowSet row_set(params_, select_, buffers_, row, set);
      if (row_set.ranks()) ChooseInPart(row_set, item % parts, worker);
      // Whoever finishes a set's last part chooses among the candidates.
      if (buffers_.unfinished[number].fetch_sub(1, std::memory_order_acq_rel) != 1) return;
      ChooseSet(row_set, worker);
      select_.selection.counts[number] =
          std::min(row_set.task().token_budget, row_set.context_len());
    });
  }

 private:
  int32_t NumParts(const RowSet& set) const { return CeilDiv(set.context_len(), part_tokens_); }
  uint32_t* Scratch(int worker) const {
    return &buffers_.worker_keys[int64_t{worker} * (buffers_.max_context_len + 16)];
  }

  void ChooseInPart(const RowSet& set, int32_t part, int worker) {
    if (part >= NumParts(set) || NumParts(set) == 1) return;
    const int32_t start = part * part_tokens_;
    const int32_t begin = std::max(set.range().begin, start);
    const int32_t end = std::min(set.range().end, start + part_tokens_);
    uint32_t* const keys = set.keys();
    int32_t* const positions = set.candidates() + start;
    const int32_t count = ChooseBest(kernels_, keys + begin, std::max(end - begin, 0),
                                     set.range().wanted, begin, Scratch(worker), positions);
    // The candidates' keys move to the start of the part; positions ascend, so none is overwritten
    // before it is read.
    for (int32_t i = 0; i < count; ++i) keys[start + i] = keys[positions[i]];
    set.CandidateCount(start) = count;
  }

  void ChooseSet(const RowSet& set, int worker) {
    if (!set.ranks() || NumParts(set) == 1) {
      SelectTokens(set.task(), kernels_, Scratch(worker));
      return;
    }
    uint32_t* const keys = set.keys();
    int32_t* const positions = set.candidates();
    // Part 0's candidates are in place; the others' move up behind them.
    int32_t count = set.CandidateCount(0);
    for (int32_t part = 1; part < NumParts(set); ++part) {
      const int32_t start = part * part_tokens_, added = set.CandidateCount(start);
      std::copy_n(keys + start, added, keys + count);
      std::copy_n(positions + start, added, positions + count);
      count += added;
    }
    const RankedRange& range = set.range();
    int32_t* const out = set.task().positions + range.begin;
    ChooseBest(kernels_, keys, count, range.wanted, 0, Scratch(worker), out);
    for (int32_t i = 0; i < range.wanted; ++i) out[i] = positions[out[i]];
    FinishSelection(set.task(), range);
  }

  const PagedDecodeParams& params_;
  const SelectTokensParams& select_;
  const int32_t sparse_rows_;
  const SelectKernels& kernels_;
  DecodeWorkspace::Buffers& buffers_;
  const int32_t sets_;
  int32_t part_tokens_ = 0;
};

}  // namespace

void ScoreGroup(const PagedDecodeParams& params, const SelectTokensParams& select,
                const RowGroup& group, const SelectKernels& kernels, ThreadPool& pool,
                DecodeWorkspace::Buffers& buffers) {
  const int32_t sets = NumSets(select.selection, params.kv.num_kv_heads);
  const int32_t heads = params.num_heads / sets, kv_heads = params.kv.num_kv_heads / sets;
  pool.ParallelFor(group.num_splits * sets, [&](int32_t item, int /*worker*/) {
    const int64_t split = item / sets;
    const int32_t set = item % sets, row = buffers.split_row[split];
    const RowSet row_set(params, select, buffers, row, set);
    if (!row_set.ranks()) return;
    const auto split_of_row = static_cast<int32_t>(split - buffers.first_split[row - group.begin]);
    const int32_t start = split_of_row * kSplitTokens;
    const int32_t tokens = std::min(row_set.context_len() - start, kSplitTokens);
    uint32_t* const keys = row_set.keys() + start;
    if (select.score == SelectionScore::kSoftmaxSum) {
      const int64_t first = split * params.num_heads + set * heads;
      kernels.rank_sums(&buffers.weights[first * kWeightStride], &buffers.factors[first], heads,
                        tokens, keys);
    } else {
      const int64_t first = split * params.kv.num_kv_heads + set * kv_heads;
      kernels.rank_maxima(&buffers.max_logits[first * kWeightStride], kv_heads, tokens, keys);
    }
  });
}

void ReduceKeys(const PagedDecodeParams& params, const SelectTokensParams& select,
                int32_t sparse_rows, RankSpan ranks, RankExchange& exchange,
                DecodeWorkspace::Buffers& buffers) {
  const bool sums = select.score == SelectionScore::kSoftmaxSum;
  const int32_t sets = NumSets(select.selection, params.kv.num_kv_heads);
  for (int32_t item = 0; item < sparse_rows * sets; ++item) {
    const RowSet set(params, select, buffers, item / sets, item % sets);
    if (!set.ranks()) continue;  // on no rank
    const auto combine = [&](const char* const* pieces, size_t begin, size_t bytes) {
      const auto keys_of = [&](int32_t rank) {
        return reinterpret_cast<const uint32_t*>(pieces[ranks.first + rank]);
      };
      uint32_t* const out = set.keys() + set.range().begin + begin / sizeof(uint32_t);
      for (size_t i = 0; i < bytes / sizeof(uint32_t); ++i) {
        uint32_t largest = keys_of(0)[i];
        float sum = ScoreOfKey(largest);
        for (int32_t rank = 1; rank < ranks.count; ++rank) {
          const uint32_t key = keys_of(rank)[i];
          largest = std::max(largest, key);
          sum += ScoreOfKey(key);
        }
        out[i] = sums ? RankKey(sum) : largest;
      }
    };
    const size_t bytes = (set.range().end - set.range().begin) * sizeof(uint32_t);
    if (!exchange.Run(set.keys() + set.range().begin, bytes, combine)) return;
  }
}

void SelectSets(const PagedDecodeParams& params, const SelectTokensParams& select,
                int32_t sparse_rows, const SelectKernels& kernels, ThreadPool& pool,
                DecodeWorkspace::Buffers& buffers) {
  SetSelector(params, select, sparse_rows, kernels, buffers).Run(pool);
}

}  // namespace tidal::cpu
