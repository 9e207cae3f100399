// A set is chosen part by part: a part ranks its own splits and keeps its own best tokens, as many
// as the whole set wants; the best of all parts' candidates are the set. The outcome is the same
// however the context is cut.
#include "kernels/cpu/attention/select_group.h"

#include <algorithm>

#include "kernels/cpu/attention/select_tokens.h"

namespace tidal::cpu {
namespace {

constexpr int32_t kMinPartSplits = 4;  // below, the threads' meeting costs more than they save

class GroupSelector {
 public:
  GroupSelector(const PagedDecodeParams& params, const SelectTokensParams& select,
                const RowGroup& group, const SelectKernels& kernels,
                DecodeWorkspace::Buffers& buffers)
      : params_(params),
        select_(select),
        group_(group),
        kernels_(kernels),
        buffers_(buffers),
        sets_(NumSets(select.selection, params.kv.num_kv_heads)) {}

  void Run(ThreadPool& pool) {
    const int32_t num_sets = (group_.end - group_.begin) * sets_;
    int32_t longest = 1;
    for (int32_t row = group_.begin; row < group_.end; ++row) {
      longest = std::max(longest, FirstSplit(row + 1) - FirstSplit(row));
    }
    const int32_t wanted_parts = CeilDiv(pool.num_threads(), num_sets);
    part_splits_ = std::max(kMinPartSplits, CeilDiv(longest, wanted_parts));
    const int32_t parts = CeilDiv(longest, part_splits_);
    for (int32_t i = 0; i < num_sets; ++i) {
      buffers_.unfinished[i].store(parts, std::memory_order_relaxed);
    }
    pool.ParallelFor(num_sets * parts, [&](int32_t item, int worker) {
      const int32_t set_of_group = item / parts;
      const int32_t row = group_.begin + set_of_group / sets_;
      const int32_t set = set_of_group % sets_;
      RunPart(row, set, item % parts, worker);
      // Whoever finishes a set's last part chooses among the candidates.
      if (buffers_.unfinished[set_of_group].fetch_sub(1, std::memory_order_acq_rel) == 1) {
        RunLast(row, set, worker);
      }
    });
  }

 private:
  // Number of the row's first split in the group; row may be group.end.
  int32_t FirstSplit(int32_t row) const { return buffers_.first_split[row - group_.begin]; }
  int32_t NumParts(int32_t row) const {
    return CeilDiv(FirstSplit(row + 1) - FirstSplit(row), part_splits_);
  }
  // Where the keys and candidates of the set's position 0 are.
  int64_t SetOffset(int32_t row, int32_t set) const {
    return (int64_t{set} * buffers_.max_splits + FirstSplit(row)) * kSplitTokens;
  }
  int32_t& CandidateCount(int32_t row, int32_t set, int32_t part) const {
    const int64_t split = FirstSplit(row) + part * part_splits_;
    return buffers_.candidate_counts[set * int64_t{buffers_.max_splits} + split];
  }
  uint32_t* Scratch(int worker) const {
    return &buffers_.worker_keys[int64_t{worker} * (buffers_.max_context_len + 16)];
  }

  SelectTask TaskOf(int32_t row, int32_t set) const {
    const int64_t at = select_.selection.SetBegin(row, set);
    SelectTask task{};
    task.keys = &buffers_.keys[SetOffset(row, set)];
    task.blocks =
        params_.tables.blocks + int64_t{params_.tables.sequence_slots[row]} * params_.tables.stride;
    task.block_size = params_.kv.block_size;
    task.context_len = params_.tables.context_lens[row];
    task.token_budget = select_.token_budgets[row];
    task.sinks = select_.sinks;
    task.recency = select_.recency[row];
    task.positions = select_.selection.positions + at;
    task.slots = select_.selection.slots + at;
    return task;
  }

  // The ranking keys of one split.
  void RankSplit(int32_t row, int32_t set, int32_t split_of_row) {
    const int32_t start = split_of_row * kSplitTokens;
    const int32_t tokens = std::min(params_.tables.context_lens[row] - start, kSplitTokens);
    const int64_t split = FirstSplit(row) + split_of_row;
    uint32_t* keys = &buffers_.keys[SetOffset(row, set) + start];
    if (select_.score == SelectionScore::kSoftmaxSum) {
      const int32_t heads = params_.num_heads / sets_;
      const int64_t first = split * params_.num_heads + set * heads;
      kernels_.rank_sums(&buffers_.weights[first * kWeightStride], &buffers_.factors[first], heads,
                         tokens, keys);
    } else {
      const int32_t heads = params_.kv.num_kv_heads / sets_;
      const int64_t first = split * params_.kv.num_kv_heads + set * heads;
      kernels_.rank_maxima(&buffers_.max_logits[first * kWeightStride], heads, tokens, keys);
    }
  }

  void RunPart(int32_t row, int32_t set, int32_t part, int worker) {
    const SelectTask task = TaskOf(row, set);
    const RankedRange range = RankedRangeOf(task);
    if (range.wanted == range.end - range.begin || part >= NumParts(row)) return;
    const int32_t last_split = FirstSplit(row + 1) - FirstSplit(row);
    const int32_t end_split = std::min((part + 1) * part_splits_, last_split);
    for (int32_t s = part * part_splits_; s < end_split; ++s) RankSplit(row, set, s);
    if (NumParts(row) == 1) return;

    const int32_t start = part * part_splits_ * kSplitTokens;
    const int32_t begin = std::max(range.begin, start);
    const int32_t end = std::min(range.end, end_split * kSplitTokens);
    int32_t* positions = &buffers_.candidates[SetOffset(row, set) + start];
    uint32_t* keys = &buffers_.keys[SetOffset(row, set)];
    const int32_t count = ChooseBest(kernels_, keys + begin, std::max(end - begin, 0), range.wanted,
                                     begin, Scratch(worker), positions);
    // The candidates' keys move to the start of the part; positions ascend, so none is overwritten
    // before it is read.
    for (int32_t i = 0; i < count; ++i) keys[start + i] = keys[positions[i]];
    CandidateCount(row, set, part) = count;
  }

  void RunLast(int32_t row, int32_t set, int worker) {
    const SelectTask task = TaskOf(row, set);
    const RankedRange range = RankedRangeOf(task);
    const bool ranked = range.wanted < range.end - range.begin;
    if (!ranked || NumParts(row) == 1) {
      SelectTokens(task, kernels_, Scratch(worker));
    } else {
      ChooseAmongCandidates(row, set, range, Scratch(worker), task.positions + range.begin);
      FinishSelection(task, range);
    }
    select_.selection.counts[int64_t{row} * sets_ + set] =
        std::min(task.token_budget, task.context_len);
  }

  void ChooseAmongCandidates(int32_t row, int32_t set, const RankedRange& range, uint32_t* scratch,
                             int32_t* out) {
    uint32_t* keys = &buffers_.keys[SetOffset(row, set)];
    int32_t* positions = &buffers_.candidates[SetOffset(row, set)];
    // Part 0's candidates are in place; the others' move up behind them.
    int32_t count = CandidateCount(row, set, 0);
    for (int32_t part = 1; part < NumParts(row); ++part) {
      const int32_t start = part * part_splits_ * kSplitTokens;
      const int32_t added = CandidateCount(row, set, part);
      std::copy_n(keys + start, added, keys + count);
      std::copy_n(positions + start, added, positions + count);
      count += added;
    }
    ChooseBest(kernels_, keys, count, range.wanted, 0, scratch, out);
    for (int32_t i = 0; i < range.wanted; ++i) out[i] = positions[out[i]];
  }

  const PagedDecodeParams& params_;
  const SelectTokensParams& select_;
  const RowGroup& group_;
  const SelectKernels& kernels_;
  DecodeWorkspace::Buffers& buffers_;
  const int32_t sets_;
  int32_t part_splits_ = 1;
};

}  // namespace

void SelectGroup(const PagedDecodeParams& params, const SelectTokensParams& select,
                 const RowGroup& group, const SelectKernels& kernels, ThreadPool& pool,
                 DecodeWorkspace::Buffers& buffers) {
  GroupSelector(params, select, group, kernels, buffers).Run(pool);
}

}  // namespace tidal::cpu
