#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/cpu/sampling.h"

namespace tidal {
namespace {

TEST(UniformDrawTest, IsUniformAndUncorrelated) {
  constexpr int kCells = 64, kDraws = 64000;
  std::vector<int> by_place(kCells), by_seed(kCells), pairs(kCells);
  for (int i = 0; i < kDraws; ++i) {
    const double a = cpu::UniformDraw(42, i), b = cpu::UniformDraw(i, 0);
    ASSERT_GE(a, 0);
    ASSERT_LT(a, 1);
    ++by_place[static_cast<int>(a * kCells)];
    ++by_seed[static_cast<int>(b * kCells)];
    const double next = cpu::UniformDraw(42, i + 1);
    ++pairs[static_cast<int>(a * 8) * 8 + static_cast<int>(next * 8)];
  }
  for (const auto& cells : {by_place, by_seed, pairs}) {
    double chi_square = 0;
    for (int count : cells) chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
    EXPECT_LT(chi_square, 63 + 5 * std::sqrt(126.0));
    EXPECT_GT(chi_square, 63 - 5 * std::sqrt(126.0));
  }
}

}  // namespace
}  // namespace tidal
