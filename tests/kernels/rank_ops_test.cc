// The CPU's operations between ranks, against sums in double precision.
#include "kernels/rank_ops.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/support/test_group.h"

namespace tidal {
namespace {

// A back end a rank.
class Ranks {
 public:
  explicit Ranks(int size) : groups_(MakeTestGroup(size)) {
    for (const auto& group : groups_) {
      backends_.push_back(MakeCpuBackend({.num_threads = 2, .group = group.get()}));
    }
  }
  int size() const { return static_cast<int>(groups_.size()); }
  Backend& operator[](int rank) { return *backends_[rank]; }
  RankGroup& group(int rank) { return *groups_[rank]; }

 private:
  std::vector<std::unique_ptr<RankGroup>> groups_;
  std::vector<std::unique_ptr<Backend>> backends_;
};

std::vector<float> Random(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

class RankOpsTest : public ::testing::TestWithParam<int> {};

TEST_P(RankOpsTest, ReduceNormAddsUpInTheOrderOfRanks) {
  Ranks ranks(GetParam());
  // Rows of 1 piece, of several, and of which a piece ends in the middle.
  for (const auto& [tokens, hidden] :
       {std::pair{1, 48}, {3, 256}, {7, 8192}, {33, 8200}, {130, 5000}}) {
    const size_t count = size_t{1} * tokens * hidden;
    std::vector<std::vector<float>> partial, residual(ranks.size()), out(ranks.size());
    for (int rank = 0; rank < ranks.size(); ++rank) partial.push_back(Random(count, 10 + rank));
    const std::vector<float> before = Random(count, 1);
    std::vector<bfloat16> weight(hidden);
    for (int i = 0; i < hidden; ++i)
      weight[i] = ToBFloat16(0.5f + 0.001f * static_cast<float>(i % 900));
    OnEachRank(ranks.size(), [&, tokens = tokens, hidden = hidden](int rank) {
      residual[rank] = before;
      out[rank].resize(count);
      ranks[rank].ReduceNorm({.partial = partial[rank].data(),
                              .residual = residual[rank].data(),
                              .weight = weight.data(),
                              .out = out[rank].data(),
                              .out_type = DType::kF32,
                              .tokens = tokens,
                              .hidden = hidden,
                              .epsilon = 1e-5f});
    });
    for (int token = 0; token < tokens; ++token) {
      double squares = 0;
      for (int i = 0; i < hidden; ++i) {
        const size_t at = size_t{1} * token * hidden + i;
        double sum = before[at];
        float in_order = partial[0][at];
        for (int rank = 0; rank < ranks.size(); ++rank) sum += partial[rank][at];
        for (int rank = 1; rank < ranks.size(); ++rank) in_order += partial[rank][at];
        ASSERT_NEAR(residual[0][at], sum, 1e-5);
        ASSERT_EQ(residual[0][at], before[at] + in_order) << "to the bit, whatever the shape";
        squares += sum * sum;
      }
      for (int i = 0; i < hidden; ++i) {
        const size_t at = size_t{1} * token * hidden + i;
        const double normed =
            residual[0][at] / std::sqrt(squares / hidden + 1e-5) * ToFloat(weight[i]);
        ASSERT_NEAR(out[0][at], normed, 1e-4 + 1e-4 * std::abs(normed));
      }
    }
    for (int rank = 1; rank < ranks.size(); ++rank) {
      ASSERT_EQ(residual[rank], residual[0]);
      ASSERT_EQ(out[rank], out[0]);
    }
  }
}

TEST_P(RankOpsTest, GatherColumnsPutsThemInOrder) {
  Ranks ranks(GetParam());
  for (const auto& [rows, columns] : {std::pair{1, 48}, {5, 101}, {3, 1 << 20}, {64, 4096}}) {
    const int part = (columns + ranks.size() - 1) / ranks.size() + 5;  // the last ones reach beyond
    std::vector<std::vector<float>> parts(ranks.size()), out(ranks.size());
    OnEachRank(ranks.size(), [&, rows = rows, columns = columns](int rank) {
      parts[rank].resize(size_t{1} * rows * part);
      for (int row = 0; row < rows; ++row) {
        for (int i = 0; i < part; ++i) {
          parts[rank][size_t{1} * row * part + i] =
              static_cast<float>(row) + static_cast<float>(rank * part + i) / (1 << 21);
        }
      }
      out[rank].resize(size_t{1} * rows * columns);
      ranks[rank].GatherColumns({.part = parts[rank].data(),
                                 .out = out[rank].data(),
                                 .rows = rows,
                                 .part_columns = part,
                                 .columns = columns});
    });
    for (int rank = 0; rank < ranks.size(); ++rank) {
      for (int row = 0; row < rows; ++row) {
        for (int i = 0; i < columns; ++i) {
          ASSERT_EQ(out[rank][size_t{1} * row * columns + i],
                    static_cast<float>(row) + static_cast<float>(i) / (1 << 21));
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, RankOpsTest, ::testing::Values(1, 2, 3, 4));

TEST(RankOpsTest, AGroupThatFailsEndsAnOperation) {
  Ranks ranks(2);
  EXPECT_EQ(ranks[0].Synchronize(), "");
  OnEachRank(2, [&](int rank) {
    if (rank == 1) return ranks.group(1).Fail(1, "a test says so");
    std::vector<float> partial(256), residual(256);
    std::vector<bfloat16> weight(256), out(256);
    ranks[0].ReduceNorm({.partial = partial.data(),
                         .residual = residual.data(),
                         .weight = weight.data(),
                         .out = out.data(),
                         .out_type = DType::kBF16,
                         .tokens = 1,
                         .hidden = 256,
                         .epsilon = 1e-5f});
    EXPECT_EQ(ranks[0].Synchronize(), "rank 1 of 2: a test says so");
  });
}

}  // namespace
}  // namespace tidal
