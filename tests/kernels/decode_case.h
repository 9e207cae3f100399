// A batch of decode rows with random q, K and V, for the tests of decode attention.
#ifndef TIDAL_TESTS_KERNELS_DECODE_CASE_H_
#define TIDAL_TESTS_KERNELS_DECODE_CASE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/attention/params.h"
#include "kernels/cpu/attention/paged_decode.h"
#include "kernels/cpu/cpu_isa.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/row_slots.h"

namespace tidal {

struct DecodeShape {
  int32_t num_heads, num_kv_heads, head_dim, block_size;
  int32_t window = 0;
};

// The caches hold every row's K and V in blocks of their own, in a random physical order; every
// other cache slot (an unused block, the rest of each row's last block) holds NaN. Block tables
// lie in sequence slots as RowSlots() has them; no entry but those of contexts is to be read.
class DecodeCase {
 public:
  // Equal (shape, context_lens, seed) give equal tokens, whatever the block_seed.
  DecodeCase(const DecodeShape& shape, const std::vector<int32_t>& context_lens, uint32_t seed,
             uint32_t block_seed = 1)
      : shape_(shape),
        context_lens_(context_lens),
        sequence_slots_(RowSlots(rows())),
        budgets_(context_lens.size(), 1) {
    const int32_t b = shape.block_size;
    stride_ = (*std::max_element(context_lens.begin(), context_lens.end()) + b - 1) / b + 1;
    const int32_t num_blocks = stride_ * rows() + 3;
    std::vector<int32_t> physical(num_blocks);
    std::iota(physical.begin(), physical.end(), 0);
    std::shuffle(physical.begin(), physical.end(), std::mt19937(block_seed));
    blocks_.assign(NumSlots(rows()) * stride_, std::numeric_limits<int32_t>::max());
    for (int32_t row = 0; row < rows(); ++row) {
      std::copy_n(physical.begin() + row * stride_, (context_lens[row] + b - 1) / b,
                  blocks_.begin() + sequence_slots_[row] * stride_);
    }
    const int64_t size = int64_t{num_blocks} * shape.num_kv_heads * b * shape.head_dim;
    const bfloat16 nan = ToBFloat16(std::numeric_limits<float>::quiet_NaN());
    k_.assign(size, nan);
    v_.assign(size, nan);
    // A row's numbers depend on its own length and place only.
    for (int32_t row = 0; row < rows(); ++row) {
      std::mt19937 random(seed * 1000 + row);
      FillRandom(random, shape.num_heads * shape.head_dim, &q_);
      std::vector<bfloat16> numbers;
      for (int32_t t = 0; t < context_lens[row]; ++t) {
        for (int32_t kv = 0; kv < shape.num_kv_heads; ++kv) {
          numbers.clear();
          FillRandom(random, 2 * shape.head_dim, &numbers);
          const int64_t at = RowOffset(Slot(row, t), kv);
          std::copy_n(numbers.begin(), shape.head_dim, k_.begin() + at);
          std::copy_n(numbers.begin() + shape.head_dim, shape.head_dim, v_.begin() + at);
        }
      }
    }
  }

  int32_t rows() const { return static_cast<int32_t>(context_lens_.size()); }
  // One a row: 1 for a sparse row, which all are at first, 0 for a dense one.
  std::vector<int32_t>& budgets() { return budgets_; }
  int64_t out_size() const { return int64_t{rows()} * shape_.num_heads * shape_.head_dim; }
  int32_t context_len(int32_t row) const { return context_lens_[row]; }
  const std::vector<int32_t>& context_lens() const { return context_lens_; }
  const std::vector<int32_t>& sequence_slots() const { return sequence_slots_; }
  const std::vector<int32_t>& blocks() const { return blocks_; }
  const std::vector<bfloat16>& q() const { return q_; }
  const std::vector<bfloat16>& k() const { return k_; }
  const std::vector<bfloat16>& v() const { return v_; }
  const DecodeShape& shape() const { return shape_; }

  int32_t Slot(int32_t row, int32_t position) const {
    const int32_t b = shape_.block_size;
    return blocks_[sequence_slots_[row] * stride_ + position / b] * b + position % b;
  }
  bfloat16* KRow(int32_t row, int32_t position, int32_t kv) {
    return &k_[RowOffset(Slot(row, position), kv)];
  }
  bfloat16* VRow(int32_t row, int32_t position, int32_t kv) {
    return &v_[RowOffset(Slot(row, position), kv)];
  }

  PagedDecodeParams Params(float* out) {
    PagedDecodeParams params{};
    params.q = q_.data();
    params.kv = {k_.data(), v_.data(), shape_.num_kv_heads, shape_.block_size, shape_.head_dim};
    params.tables = {blocks_.data(), stride_, sequence_slots_.data(), context_lens_.data()};
    params.out = out;
    params.out_type = DType::kF32;
    params.rows = rows();
    params.num_heads = shape_.num_heads;
    params.max_context_len = *std::max_element(context_lens_.begin(), context_lens_.end());
    params.softmax_scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
    params.window = shape_.window;
    return params;
  }

  BackendLimits Limits() const {
    BackendLimits limits{};
    limits.max_tokens = limits.max_decode_rows = NumSlots(rows());
    limits.max_context_len = *std::max_element(context_lens_.begin(), context_lens_.end());
    limits.num_heads = shape_.num_heads;
    limits.num_kv_heads = shape_.num_kv_heads;
    limits.head_dim = shape_.head_dim;
    limits.block_size = shape_.block_size;
    for (int32_t len : context_lens_) limits.max_scored_tokens += len;
    limits.window = shape_.window;
    return limits;
  }

 private:
  static void FillRandom(std::mt19937& random, int32_t count, std::vector<bfloat16>* out) {
    std::normal_distribution<float> normal;
    for (int32_t i = 0; i < count; ++i) out->push_back(ToBFloat16(normal(random)));
  }
  int64_t RowOffset(int64_t slot, int32_t kv) const {
    const int64_t b = shape_.block_size;
    return ((slot / b * shape_.num_kv_heads + kv) * b + slot % b) * shape_.head_dim;
  }

  DecodeShape shape_;
  std::vector<int32_t> context_lens_, sequence_slots_, budgets_;
  int32_t stride_ = 0;
  std::vector<int32_t> blocks_;  // [NumSlots(rows), stride]
  std::vector<bfloat16> q_, k_, v_;
};

// A set of every sparse row, those of the last row first, with room for its context.
class SelectionBuffer {
 public:
  static constexpr int32_t kPoison = -7;  // where nothing is written

  // budgets: 0 for a dense row, which has no room.
  SelectionBuffer(const DecodeShape& shape, const std::vector<int32_t>& context_lens,
                  const std::vector<int32_t>& budgets, SelectionGranularity granularity)
      : sets_(granularity == SelectionGranularity::kShared ? 1 : shape.num_kv_heads),
        row_begins_(context_lens.size(), kPoison) {
    const auto rows = static_cast<int32_t>(context_lens.size());
    int32_t end = 0;
    for (int32_t row = rows - 1; row >= 0; --row) {
      if (budgets[row] == 0) continue;
      row_begins_[row] = end;
      end += (context_lens[row] + kScoreAlignment - 1) / kScoreAlignment * kScoreAlignment;
    }
    positions_.assign(int64_t{sets_} * end, kPoison);
    slots_ = positions_;
    counts_.assign(rows * sets_, kPoison);
    view_ = {positions_.data(),  slots_.data(), counts_.data(),
             row_begins_.data(), end,           granularity};
  }
  // Every row is sparse.
  SelectionBuffer(const DecodeCase& c, SelectionGranularity granularity)
      : SelectionBuffer(c.shape(), c.context_lens(), std::vector<int32_t>(c.rows(), 1),
                        granularity) {}
  SelectionBuffer(const SelectionBuffer&) = delete;
  SelectionBuffer& operator=(const SelectionBuffer&) = delete;

  int32_t sets() const { return sets_; }
  const TokenSelection& view() const { return view_; }
  const std::vector<int32_t>& row_begins() const { return row_begins_; }
  std::vector<int32_t>& positions() { return positions_; }
  std::vector<int32_t>& slots() { return slots_; }
  std::vector<int32_t>& counts() { return counts_; }  // [rows, sets]
  int32_t count(int32_t row, int32_t set) const { return counts_[row * sets_ + set]; }
  std::vector<int32_t> Positions(int32_t row, int32_t set) const {
    return Of(positions_, row, set);
  }
  std::vector<int32_t> Slots(int32_t row, int32_t set) const { return Of(slots_, row, set); }
  // Sets a set by hand.
  void Assign(const DecodeCase& c, int32_t row, int32_t set,
              const std::vector<int32_t>& positions) {
    counts_[row * sets_ + set] = static_cast<int32_t>(positions.size());
    int64_t at = view_.SetBegin(row, set);
    for (int32_t position : positions) {
      positions_[at] = position;
      slots_[at++] = c.Slot(row, position);
    }
  }
  // Nothing but sets is written.
  void ExpectPoisonElsewhere() const {
    for (std::vector<int32_t> rest : {positions_, slots_}) {
      for (int32_t i = 0; i < static_cast<int32_t>(counts_.size()); ++i) {
        if (counts_[i] == kPoison) continue;  // of a row that no set was asked for
        std::fill_n(rest.begin() + view_.SetBegin(i / sets_, i % sets_), counts_[i], kPoison);
      }
      EXPECT_TRUE(std::count(rest.begin(), rest.end(), kPoison) == std::ssize(rest));
    }
  }
  friend bool operator==(const SelectionBuffer& a, const SelectionBuffer& b) {
    return a.positions_ == b.positions_ && a.slots_ == b.slots_ && a.counts_ == b.counts_;
  }

 private:
  std::vector<int32_t> Of(const std::vector<int32_t>& array, int32_t row, int32_t set) const {
    const auto first = array.begin() + view_.SetBegin(row, set);
    return {first, first + count(row, set)};
  }

  int32_t sets_;
  std::vector<int32_t> row_begins_, positions_, slots_, counts_;
  TokenSelection view_;
};

// Every row is sparse.
inline SparseDecodeParams SparseParams(DecodeCase& c, const TokenSelection& selection, float* out) {
  const PagedDecodeParams dense = c.Params(out);
  return {.q = dense.q,
          .kv = dense.kv,
          .tables = dense.tables,
          .token_budgets = c.budgets().data(),
          .selection = selection,
          .out = out,
          .out_type = dense.out_type,
          .rows = dense.rows,
          .num_heads = dense.num_heads,
          .max_context_len = dense.max_context_len,
          .softmax_scale = dense.softmax_scale};
}

// Equal NaN places, and everywhere else no further apart than `tolerance`.
inline void ExpectClose(const std::vector<float>& actual, const std::vector<double>& expected,
                        double tolerance, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double worst = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(std::isnan(actual[i]), std::isnan(expected[i])) << what << ", element " << i;
    if (!std::isnan(expected[i])) worst = std::max(worst, std::abs(actual[i] - expected[i]));
  }
  EXPECT_LE(worst, tolerance) << what;
}

// Equal bits, NaN included.
inline void ExpectSameBits(const std::vector<float>& a, const std::vector<float>& b,
                           const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(a[i]), std::bit_cast<uint32_t>(b[i]))
        << what << ", element " << i << ": " << a[i] << ", " << b[i];
  }
}

// Tests of every instruction set: the parameter says whether AVX-512.
class DecodeKernelTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && !cpu::HasAvx512Bf16()) GTEST_SKIP() << "no AVX-512 BF16 here";
  }
  const cpu::AttentionKernels& kernels() const { return cpu::GetAttentionKernels(GetParam()); }

  std::vector<float> RunPaged(DecodeCase& c, int num_threads = 1) {
    std::vector<float> out(c.out_size(), -1.0f);
    cpu::ThreadPool pool(num_threads);
    cpu::DecodeWorkspace workspace;
    EXPECT_TRUE(workspace.Reserve(c.Limits(), num_threads));
    cpu::PagedDecode(c.Params(out.data()), kernels(), pool, workspace);
    return out;
  }
  std::vector<float> RunSparse(DecodeCase& c, const TokenSelection& selection,
                               int num_threads = 1) {
    std::vector<float> out(c.out_size(), -1.0f);
    cpu::ThreadPool pool(num_threads);
    cpu::DecodeWorkspace workspace;
    EXPECT_TRUE(workspace.Reserve(c.Limits(), num_threads));
    cpu::SparseDecode(SparseParams(c, selection, out.data()), kernels(), pool, workspace);
    return out;
  }
  std::vector<float> RunSelecting(DecodeCase& c, const SelectTokensParams& select,
                                  int num_threads = 1) {
    std::vector<float> out(c.out_size(), -1.0f);
    cpu::ThreadPool pool(num_threads);
    cpu::DecodeWorkspace workspace;
    EXPECT_TRUE(workspace.Reserve(c.Limits(), num_threads));
    const PagedDecodeParams params = c.Params(out.data());
    cpu::ScoringDecode(params, select, kernels(), pool, workspace);
    cpu::SelectTokens(params, select, kernels(), pool, workspace);
    return out;
  }
};

inline std::string IsaName(const testing::TestParamInfo<bool>& info) {
  return info.param ? "Avx512" : "Portable";
}

}  // namespace tidal

#endif  // TIDAL_TESTS_KERNELS_DECODE_CASE_H_
