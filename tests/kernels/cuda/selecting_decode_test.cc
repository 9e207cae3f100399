// Attention and token selection together, through the back end: sets against the reference's scores
// in double precision. Logits are kept in 16 bits, so sets may differ near the lowest score that
// the reference chose: by what half a unit in the last place of logits below 16 makes of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "kernels/reference/attention_decode.h"
#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/kernels/decode_case.h"

namespace tidal {
namespace {

constexpr int32_t kPoison = -7;

struct SelectingRows {
  std::vector<int32_t> context_lens, budgets, recency;
  int32_t sinks = 4;

  int32_t capacity() const { return *std::max_element(budgets.begin(), budgets.end()); }
};

struct Sets {
  std::vector<int32_t> positions, slots, counts;
  bool operator==(const Sets&) const = default;
};

class CudaSelectingDecodeTest : public CudaFixture {
 protected:
  void Reserve(const DecodeCase& c, const DecodeShape& shape, const SelectingRows& rows) {
    BackendLimits limits = c.Limits(rows.capacity());
    limits.block_size = shape.block_size;
    limits.vocab = 64;
    limits.hidden = limits.intermediate = 64;
    for (int32_t len : rows.context_lens) limits.max_scored_tokens += len;
    ASSERT_TRUE(backend_->Reserve(limits));
  }

  // What the last of so many operations in a row selects.
  Sets Select(DecodeCase& c, const DecodeShape& shape, const SelectingRows& rows,
              SelectionGranularity granularity, SelectionScore score, int times = 1) {
    const PagedDecodeParams host = c.Params(nullptr);
    const int64_t table_size = int64_t{host.rows} * host.tables.stride;
    const int64_t cache_size =
        (table_size + 3) * shape.num_kv_heads * shape.block_size * shape.head_dim;
    const DeviceArray<bfloat16> q(*backend_, {host.q, host.q + c.out_size()});
    const DeviceArray<bfloat16> k(*backend_, {host.kv.k, host.kv.k + cache_size});
    const DeviceArray<bfloat16> v(*backend_, {host.kv.v, host.kv.v + cache_size});
    const DeviceArray<int32_t> blocks(*backend_,
                                      {host.tables.blocks, host.tables.blocks + table_size});
    const DeviceArray<int32_t> lens(*backend_, rows.context_lens), budgets(*backend_, rows.budgets),
        recency(*backend_, rows.recency);
    const DeviceArray<float> out(*backend_, c.out_size());
    const int32_t sets = granularity == SelectionGranularity::kShared ? 1 : shape.num_kv_heads;
    const std::vector<int32_t> poison(int64_t{host.rows} * sets * rows.capacity(), kPoison);
    const DeviceArray<int32_t> positions(*backend_, poison), slots(*backend_, poison),
        counts(*backend_, std::vector<int32_t>(host.rows * sets, kPoison));

    PagedDecodeParams params = host;
    params.q = q.get();
    params.kv.k = k.get();
    params.kv.v = v.get();
    params.tables.blocks = blocks.get();
    params.tables.context_lens = lens.get();
    params.out = out.get();
    SelectTokensParams select{};
    select.selection = {positions.get(), slots.get(), counts.get(), rows.capacity(), granularity};
    select.token_budgets = budgets.get();
    select.recency = recency.get();
    select.sinks = rows.sinks;
    select.score = score;
    backend_->PlanDecode({lens.get(), budgets.get(), host.rows});
    for (int i = 0; i < times; ++i) backend_->SelectingDecode(params, select);
    return {positions.Read(), slots.Read(), counts.Read()};
  }

  void ExpectSetsEqualReference(DecodeCase& c, const DecodeShape& shape, const SelectingRows& rows,
                                SelectionGranularity granularity, SelectionScore score) {
    const Sets sets = Select(c, shape, rows, granularity, score);
    const int32_t capacity = rows.capacity();
    for (int32_t row = 0; row < c.rows(); ++row) {
      const int32_t len = rows.context_lens[row], budget = rows.budgets[row];
      const int32_t num_sets =
          granularity == SelectionGranularity::kShared ? 1 : shape.num_kv_heads;
      const bool sparse = len > 0 && budget > 0;
      std::vector<std::vector<double>> scores(num_sets);
      if (sparse) scores = reference::SelectionScores(c.Params(nullptr), granularity, score, row);
      for (int32_t set = 0; set < num_sets; ++set) {
        SCOPED_TRACE("D=" + std::to_string(shape.head_dim) + ", granularity " +
                     std::to_string(static_cast<int>(granularity)) + ", score " +
                     std::to_string(static_cast<int>(score)) + ", row " + std::to_string(row) +
                     ", set " + std::to_string(set));
        const int32_t at = row * num_sets + set;
        const auto positions = sets.positions.begin() + int64_t{at} * capacity;
        const auto slots = sets.slots.begin() + int64_t{at} * capacity;
        const int32_t count = sparse ? std::min(len, budget) : 0;
        ASSERT_EQ(sets.counts[at], sparse ? count : kPoison);
        for (int32_t i = 0; i < capacity; ++i) {
          if (i >= count) {  // nothing is written past the set
            ASSERT_EQ(positions[i], kPoison);
            ASSERT_EQ(slots[i], kPoison);
            continue;
          }
          ASSERT_GE(positions[i], 0);
          ASSERT_LT(positions[i], len);
          if (i > 0) {
            ASSERT_LT(positions[i - 1], positions[i]);
          }
          ASSERT_EQ(slots[i], c.Slot(row, positions[i]));
        }
        if (sparse) {
          ExpectNear({positions, positions + count}, scores[set], budget, rows.sinks,
                     rows.recency[row], Rounding(c.Params(nullptr), score));
        }
      }
    }
  }

 private:
  // How far rounding moves a score: by so much of itself (first), and so much (second).
  static std::pair<double, double> Rounding(const PagedDecodeParams& params, SelectionScore score) {
    const double in_base_2 = std::exp2(-8);
    const double natural = in_base_2 * std::log(2);
    if (score == SelectionScore::kSoftmaxSum) return {natural, 0.0};
    return {0.0, natural / params.softmax_scale};
  }

  static void ExpectNear(const std::vector<int32_t>& got, const std::vector<double>& scores,
                         int32_t budget, int32_t sinks, int32_t recency,
                         std::pair<double, double> rounding) {
    const auto len = static_cast<int32_t>(scores.size());
    const std::vector<int32_t> want = reference::SelectTokens(scores, budget, sinks, recency);
    const auto forced = [&](int32_t t) { return t < sinks || t >= len - 1 - recency; };
    double threshold = std::numeric_limits<double>::infinity();
    for (int32_t t : want) {
      if (!forced(t)) threshold = std::min(threshold, scores[t]);
    }
    std::vector<int32_t> differ;
    std::set_symmetric_difference(want.begin(), want.end(), got.begin(), got.end(),
                                  std::back_inserter(differ));
    for (int32_t t : differ) {
      EXPECT_FALSE(forced(t)) << t;
      // The token's own score is off by that much, and the one that it was compared with.
      EXPECT_LE(std::abs(scores[t] - threshold),
                2 * (rounding.first * std::abs(threshold) + rounding.second))
          << t;
    }
  }
};

constexpr SelectionGranularity kGranularities[] = {SelectionGranularity::kShared,
                                                   SelectionGranularity::kKvHead};
constexpr SelectionScore kScores[] = {SelectionScore::kSoftmaxSum, SelectionScore::kMaxLogit};

class CudaSelectingDecodeShapeTest : public CudaSelectingDecodeTest,
                                     public testing::WithParamInterface<DecodeShape> {};
INSTANTIATE_TEST_SUITE_P(Shapes, CudaSelectingDecodeShapeTest,
                         testing::Values(DecodeShape{4, 2, 64, 16}, DecodeShape{8, 2, 128, 32},
                                         DecodeShape{3, 3, 80, 64}, DecodeShape{7, 1, 32, 16},
                                         DecodeShape{16, 4, 128, 64}, DecodeShape{1, 1, 64, 16},
                                         DecodeShape{32, 2, 64, 16}, DecodeShape{36, 4, 48, 32}));

class CudaSelectingDecodeRepeatTest : public CudaSelectingDecodeTest,
                                      public testing::WithParamInterface<std::pair<int, int>> {};

// Sparse rows, then a dense one, then two that pad the batch.
TEST_P(CudaSelectingDecodeShapeTest, EqualsReference) {
  const DecodeShape shape = GetParam();
  SelectingRows rows;
  rows.context_lens = {1, 63, 64, 65, 511, 512, 513, 999, 1000, 1001, 3001, 30, 900, 0, 0};
  rows.budgets = {64, 64, 64, 64, 1, 511, 600, 1000, 1000, 1000, 600, 7, 0, 0, 64};
  rows.recency = {16, 16, 0, 16, 5, 25, 128, 0, 250, 20, 150, 20, 16, 0, 16};
  DecodeCase c(shape, rows.context_lens, 70 + shape.head_dim, /*block_seed=*/5);
  Reserve(c, shape, rows);
  for (auto granularity : kGranularities) {
    for (auto score : kScores) {
      ExpectSetsEqualReference(c, shape, rows, granularity, score);
      EXPECT_TRUE(Select(c, shape, rows, granularity, score) ==
                  Select(c, shape, rows, granularity, score));
    }
  }
}

TEST_P(CudaSelectingDecodeShapeTest, EqualKeysGiveTheLowestPositions) {
  const DecodeShape shape = GetParam();
  SelectingRows rows;
  rows.context_lens = {700, 2050};
  rows.budgets = {100, 300};
  rows.recency = {0, 10};
  DecodeCase c(shape, rows.context_lens, 3);
  for (int32_t row = 0; row < c.rows(); ++row) {
    for (int32_t kv = 0; kv < shape.num_kv_heads; ++kv) {
      for (int32_t t = 1; t < rows.context_lens[row]; ++t) {
        std::copy_n(c.KRow(row, 0, kv), shape.head_dim, c.KRow(row, t, kv));
      }
    }
  }
  Reserve(c, shape, rows);
  for (auto granularity : kGranularities) {
    for (auto score : kScores) {
      const Sets sets = Select(c, shape, rows, granularity, score);
      for (size_t at = 0; at < sets.counts.size(); ++at) {
        const size_t row = at / (sets.counts.size() / rows.budgets.size());
        const int32_t forced = 1 + rows.recency[row];
        for (int32_t i = 0; i < rows.budgets[row]; ++i) {
          const int32_t last = rows.context_lens[row] - rows.budgets[row] + i;
          ASSERT_EQ(sets.positions[at * rows.capacity() + i],
                    i < rows.budgets[row] - forced ? i : last)
              << "set " << at;
        }
      }
    }
  }
}

// Rows longer and shorter than what the device works on at a time, with sets of their own.
TEST_F(CudaSelectingDecodeTest, ManyRows) {
  const DecodeShape shape{8, 2, 64, 16};
  SelectingRows rows;
  for (int32_t row = 0; row < 70; ++row) {
    rows.context_lens.push_back(row % 7 == 0 ? 9000 + row : 130 + 3 * row);
    rows.budgets.push_back(row % 5 == 4 ? 0 : 90);
    rows.recency.push_back(20);
  }
  DecodeCase c(shape, rows.context_lens, 11);
  Reserve(c, shape, rows);
  for (auto granularity : kGranularities) {
    ExpectSetsEqualReference(c, shape, rows, granularity, SelectionScore::kSoftmaxSum);
  }
  const Sets first = Select(c, shape, rows, kGranularities[1], SelectionScore::kSoftmaxSum);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(Select(c, shape, rows, kGranularities[1], SelectionScore::kSoftmaxSum) == first);
  }
}

// The last tile of a row is pooled by some lanes of a warp only. Once in some thousand operations
// they went on at another moment than the others, and the kernel never ended.
TEST_P(CudaSelectingDecodeRepeatTest, EndsEveryTime) {
  const DecodeShape shape{4, 2, 64, 16};
  SelectingRows rows;
  const auto [num_rows, length] = GetParam();
  for (int32_t row = 0; row < num_rows; ++row) {
    rows.context_lens.push_back(length + 5 * row);
    rows.budgets.push_back(row % 3 == 0 ? 0 : 128);
    rows.recency.push_back(32);
  }
  DecodeCase c(shape, rows.context_lens, 13);
  Reserve(c, shape, rows);
  const auto select = [&](int times) {
    return Select(c, shape, rows, SelectionGranularity::kShared, SelectionScore::kSoftmaxSum,
                  times);
  };
  const Sets first = select(1);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(select(1000) == first);
}
INSTANTIATE_TEST_SUITE_P(Lengths, CudaSelectingDecodeRepeatTest,
                         testing::Values(std::pair{31, 500}, std::pair{31, 2100},
                                         std::pair{16, 16200}, std::pair{31, 16200}));

// K rows that are no numbers: such tokens are never preferred, and their heads have no softmax.
TEST_F(CudaSelectingDecodeTest, TokensWithoutANumber) {
  const DecodeShape shape{4, 2, 64, 16};
  SelectingRows rows;
  rows.context_lens = {900};
  rows.budgets = {100};
  rows.recency = {10};
  DecodeCase clean(shape, rows.context_lens, 12);
  Reserve(clean, shape, rows);
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    DecodeCase c(shape, rows.context_lens, 12);
    std::fill_n(c.KRow(0, 300, 1), shape.head_dim, ToBFloat16(value));
    // The first KV head's set is as without; the second's scores are all alike, and give the lowest
    // positions.
    const Sets sets =
        Select(c, shape, rows, SelectionGranularity::kKvHead, SelectionScore::kSoftmaxSum);
    const Sets expected =
        Select(clean, shape, rows, SelectionGranularity::kKvHead, SelectionScore::kSoftmaxSum);
    for (int32_t i = 0; i < 100; ++i) {
      EXPECT_EQ(sets.positions[i], expected.positions[i]) << i;
      EXPECT_EQ(sets.positions[100 + i], i < 89 ? i : 800 + i) << i;
    }
  }
}

TEST_F(CudaSelectingDecodeTest, HugeContext) {
  const DecodeShape shape{4, 1, 64, 16};
  SelectingRows rows;
  rows.context_lens = {200'003};
  rows.budgets = {2048};
  rows.recency = {512};
  DecodeCase c(shape, rows.context_lens, 9);
  Reserve(c, shape, rows);
  for (auto score : kScores) {
    ExpectSetsEqualReference(c, shape, rows, SelectionGranularity::kShared, score);
  }
}

}  // namespace
}  // namespace tidal
