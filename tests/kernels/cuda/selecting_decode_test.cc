// Attention and token selection together, through the back end: sets against the reference's scores
// in double precision. Logits are kept in 16 bits, so sets may differ near the lowest score that
// the reference chose: by what half a unit in the last place of logits below 16 makes of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "kernels/reference/attention_decode.h"
#include "tests/kernels/cuda/device_decode_case.h"

namespace tidal {
namespace {

struct SelectingRows {
  std::vector<int32_t> context_lens, budgets, recency;
  int32_t sinks = 4;
};

// Operations on one device, one after the other.
class SelectingCase {
 public:
  SelectingCase(DecodeCase& c, const SelectingRows& rows)
      : c_(c), rows_(rows), device_(c, rows.budgets) {}

  // What the last of so many operations in a row selects.
  std::unique_ptr<SelectionBuffer> Select(SelectionGranularity granularity, SelectionScore score,
                                          int times = 1) {
    auto sets = std::make_unique<SelectionBuffer>(c_.shape(), rows_.context_lens, rows_.budgets,
                                                  granularity);
    const DeviceSelection on_device(device_.backend(), *sets);
    const DeviceArray<int32_t> recency(device_.backend(), rows_.recency);
    const DeviceArray<float> out(device_.backend(), c_.out_size());
    device_.Plan();
    for (int i = 0; i < times; ++i) {
      const SelectTokensParams select = {on_device.view(), device_.budgets(), recency.get(),
                                         rows_.sinks, score};
      device_.backend().ScoringDecode(device_.Params(out.get()), select);
      device_.backend().SelectTokens(device_.Params(out.get()), select);
    }
    on_device.ReadTo(sets.get());
    return sets;
  }

  void ExpectSetsEqualReference(SelectionGranularity granularity, SelectionScore score) {
    const std::unique_ptr<SelectionBuffer> sets = Select(granularity, score);
    for (int32_t row = 0; row < c_.rows(); ++row) {
      const int32_t len = rows_.context_lens[row], budget = rows_.budgets[row];
      const bool sparse = len > 0 && budget > 0;
      std::vector<std::vector<double>> scores(sets->sets());
      if (sparse) scores = reference::SelectionScores(c_.Params(nullptr), granularity, score, row);
      for (int32_t set = 0; set < sets->sets(); ++set) {
        SCOPED_TRACE("D=" + std::to_string(c_.shape().head_dim) + ", granularity " +
                     std::to_string(static_cast<int>(granularity)) + ", score " +
                     std::to_string(static_cast<int>(score)) + ", row " + std::to_string(row) +
                     ", set " + std::to_string(set));
        ASSERT_EQ(sets->count(row, set), sparse ? std::min(len, budget) : SelectionBuffer::kPoison);
        if (!sparse) continue;
        const std::vector<int32_t> positions = sets->Positions(row, set);
        const std::vector<int32_t> slots = sets->Slots(row, set);
        for (size_t i = 0; i < positions.size(); ++i) {
          ASSERT_GE(positions[i], 0);
          ASSERT_LT(positions[i], len);
          if (i > 0) {
            ASSERT_LT(positions[i - 1], positions[i]);
          }
          ASSERT_EQ(slots[i], c_.Slot(row, positions[i]));
        }
        ExpectNear(positions, scores[set], budget, rows_.sinks, rows_.recency[row],
                   Rounding(c_.Params(nullptr), score));
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

  DecodeCase& c_;
  const SelectingRows rows_;
  DeviceDecodeCase device_;
};

class CudaSelectingDecodeTest : public CudaFixture {};

constexpr SelectionGranularity kGranularities[] = {SelectionGranularity::kShared,
                                                   SelectionGranularity::kKvHead};
constexpr SelectionScore kScores[] = {SelectionScore::kSoftmaxSum, SelectionScore::kMaxLogit};

class CudaSelectingDecodeShapeTest : public CudaSelectingDecodeTest,
                                     public testing::WithParamInterface<DecodeShape> {};
INSTANTIATE_TEST_SUITE_P(Shapes, CudaSelectingDecodeShapeTest,
                         testing::Values(DecodeShape{4, 2, 64, 16}, DecodeShape{8, 2, 128, 32},
                                         DecodeShape{3, 3, 80, 64}, DecodeShape{7, 1, 32, 16},
                                         DecodeShape{16, 4, 128, 64}, DecodeShape{1, 1, 64, 16},
                                         DecodeShape{32, 2, 64, 16}, DecodeShape{36, 4, 80, 32}));

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
  SelectingCase selecting(c, rows);
  for (auto granularity : kGranularities) {
    for (auto score : kScores) {
      selecting.ExpectSetsEqualReference(granularity, score);
      EXPECT_TRUE(*selecting.Select(granularity, score) == *selecting.Select(granularity, score));
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
  SelectingCase selecting(c, rows);
  for (auto granularity : kGranularities) {
    for (auto score : kScores) {
      const auto sets = selecting.Select(granularity, score);
      for (int32_t row = 0; row < c.rows(); ++row) {
        const int32_t budget = rows.budgets[row], forced = 1 + rows.recency[row];
        std::vector<int32_t> expected(budget);
        std::iota(expected.begin(), expected.end(), 0);
        std::iota(expected.end() - forced, expected.end(), rows.context_lens[row] - forced);
        for (int32_t set = 0; set < sets->sets(); ++set) {
          ASSERT_EQ(sets->Positions(row, set), expected) << "row " << row << ", set " << set;
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
  SelectingCase selecting(c, rows);
  for (auto granularity : kGranularities) {
    selecting.ExpectSetsEqualReference(granularity, SelectionScore::kSoftmaxSum);
  }
  const auto first = selecting.Select(kGranularities[1], SelectionScore::kSoftmaxSum);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(*selecting.Select(kGranularities[1], SelectionScore::kSoftmaxSum) == *first);
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
  SelectingCase selecting(c, rows);
  const auto select = [&](int times) {
    return selecting.Select(SelectionGranularity::kShared, SelectionScore::kSoftmaxSum, times);
  };
  const auto first = select(1);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(*select(1000) == *first);
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
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    DecodeCase c(shape, rows.context_lens, 12);
    std::fill_n(c.KRow(0, 300, 1), shape.head_dim, ToBFloat16(value));
    SelectingCase selecting(c, rows);
    // The first KV head's set is as without; the second's scores are all alike, and give the lowest
    // positions.
    const auto sets = selecting.Select(SelectionGranularity::kKvHead, SelectionScore::kSoftmaxSum);
    const auto expected = SelectingCase(clean, rows)
                              .Select(SelectionGranularity::kKvHead, SelectionScore::kSoftmaxSum);
    EXPECT_EQ(sets->Positions(0, 0), expected->Positions(0, 0));
    const std::vector<int32_t> second = sets->Positions(0, 1);
    for (int32_t i = 0; i < 100; ++i) EXPECT_EQ(second[i], i < 89 ? i : 800 + i) << i;
  }
}

TEST_F(CudaSelectingDecodeTest, HugeContext) {
  const DecodeShape shape{4, 1, 64, 16};
  SelectingRows rows;
  rows.context_lens = {200'003};
  rows.budgets = {2048};
  rows.recency = {512};
  DecodeCase c(shape, rows.context_lens, 9);
  SelectingCase selecting(c, rows);
  for (auto score : kScores) {
    selecting.ExpectSetsEqualReference(SelectionGranularity::kShared, score);
  }
}

}  // namespace
}  // namespace tidal
