// The operations between ranks: against what the host computes, to the bit where that is promised,
// in graphs and outside, over many epochs at uneven speeds. The ranks are threads, and share a
// GPU where there are not as many.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/kernels/cuda/device_ranks.h"

namespace tidal {
namespace {

class CudaRanksTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (!HasDevice()) GTEST_SKIP() << "no CUDA device here";
  }
};

INSTANTIATE_TEST_SUITE_P(Ranks, CudaRanksTest, testing::Values(2, 3, 4, 8),
                         [](const auto& info) { return std::to_string(info.param); });

struct Normed {
  std::vector<float> residual, out;
  std::vector<bfloat16> out_bf16;
};

bool EqualBits(const std::vector<bfloat16>& a, const std::vector<bfloat16>& b, size_t count) {
  return std::equal(a.begin(), a.begin() + count, b.begin(),
                    [](bfloat16 x, bfloat16 y) { return x.bits == y.bits; });
}

// Of rows that are the first ones of the largest batch, in batches of every size.
TEST_P(CudaRanksTest, ReduceNormIsThatOfTheHostWhateverTheBatch) {
  const int size = GetParam();
  DeviceRanks ranks(size);
  const std::vector<int32_t> batches = {1, 2, 3, 7, 33, 300};
  constexpr size_t kMost = size_t{300} * 8192;
  std::vector<std::unique_ptr<ReduceNormArrays>> arrays;
  for (int rank = 0; rank < size; ++rank) {
    arrays.push_back(std::make_unique<ReduceNormArrays>(ranks.backend(rank), kMost, 8192));
  }
  for (const int32_t hidden : {48, 100, 67, 1000, 1024, 4096, 4100, 5120, 8192}) {
    const size_t elements = size_t{300} * hidden;
    std::vector<std::vector<float>> partials;
    for (int rank = 0; rank < size; ++rank) partials.push_back(RandomFloats(elements, rank));
    const std::vector<float> residual = RandomFloats(elements, 77);
    std::vector<bfloat16> weight;
    for (float x : RandomFloats(hidden, 78)) weight.push_back(ToBFloat16(x));
    std::vector<float> expected = residual;
    AddPartials(partials, hidden, &expected);

    // [ranks][batches]
    std::vector<std::vector<Normed>> results(size, std::vector<Normed>(batches.size()));
    OnEachRank(size, [&](int rank) {
      Backend& backend = ranks.backend(rank);
      ReduceNormArrays& a = *arrays[rank];
      a.partial.Write(partials[rank]);
      a.weight.Write(weight);
      for (size_t i = 0; i < batches.size(); ++i) {
        const size_t count = static_cast<size_t>(batches[i]) * hidden;
        Normed& result = results[rank][i];
        a.residual.Write(residual);
        backend.ReduceNorm(a.Params(batches[i], hidden, DType::kF32));
        result.residual.resize(count);
        backend.CopyToHost(result.residual.data(), a.residual.get(), count * sizeof(float));
        a.residual.Write(residual);
        backend.ReduceNorm(a.Params(batches[i], hidden, DType::kBF16));
        result.out.resize(count);
        result.out_bf16.resize(count);
        backend.CopyToHost(result.out.data(), a.out.get(), count * sizeof(float));
        backend.CopyToHost(result.out_bf16.data(), a.out_bf16.get(), count * sizeof(bfloat16));
        ASSERT_EQ(backend.Synchronize(), "");
      }
    });

    const Normed& largest = results[0].back();
    ASSERT_EQ(largest.residual, expected) << hidden;
    for (int32_t row = 0; row < 300; ++row) {
      const float* const x = &expected[size_t{1} * row * hidden];
      double sum = 0;
      for (int32_t i = 0; i < hidden; ++i) sum += double{x[i]} * x[i];
      const double scale = 1 / std::sqrt(sum / hidden + 1e-5);
      for (int32_t i = 0; i < hidden; ++i) {
        const double y = x[i] * scale * ToFloat(weight[i]);
        ASSERT_NEAR(largest.out[size_t{1} * row * hidden + i], y, 1e-5 * std::abs(y) + 1e-7)
            << hidden << ", row " << row << ", column " << i;
      }
    }
    for (size_t i = 0; i < largest.out.size(); ++i) {
      ASSERT_EQ(largest.out_bf16[i].bits, ToBFloat16(largest.out[i]).bits) << hidden << ", " << i;
    }
    for (int rank = 0; rank < size; ++rank) {
      for (size_t i = 0; i < batches.size(); ++i) {
        const Normed& result = results[rank][i];
        const size_t count = result.residual.size();
        EXPECT_TRUE(std::equal(result.residual.begin(), result.residual.end(), expected.begin()) &&
                    std::equal(result.out.begin(), result.out.end(), largest.out.begin()) &&
                    EqualBits(result.out_bf16, largest.out_bf16, count))
            << "rank " << rank << ", " << batches[i] << " x " << hidden;
      }
    }
  }
}

// A row with a NaN is NaN everywhere, also one with the bits that stand for a word to come.
TEST_P(CudaRanksTest, NansArriveToo) {
  const int size = GetParam();
  DeviceRanks ranks(size);
  constexpr int32_t kHidden = 256, kTokens = 3;
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  std::vector<Normed> results(size);
  std::vector<std::unique_ptr<ReduceNormArrays>> arrays;
  std::vector<std::unique_ptr<DeviceArray<float>>> outs;
  for (int rank = 0; rank < size; ++rank) {
    arrays.push_back(
        std::make_unique<ReduceNormArrays>(ranks.backend(rank), kTokens * kHidden, kHidden));
    outs.push_back(std::make_unique<DeviceArray<float>>(ranks.backend(rank), size_t{2} * size * 8));
  }
  OnEachRank(size, [&](int rank) {
    Backend& backend = ranks.backend(rank);
    ReduceNormArrays& a = *arrays[rank];
    const DeviceArray<float>& gathered = *outs[rank];
    std::vector<float> partial(kTokens * kHidden, 1.0f), part(16, 2.0f);
    if (rank == 1) {
      std::fill_n(partial.begin() + kHidden, kHidden, std::bit_cast<float>(0xffffffffu));
      part[3] = std::bit_cast<float>(0xffffffffu);
      part[4] = kLowest;
    }
    a.partial.Write(partial);
    a.weight.Write(std::vector<bfloat16>(kHidden, ToBFloat16(1.0f)));
    backend.ReduceNorm(a.Params(kTokens, kHidden, DType::kF32));
    results[rank].residual = a.residual.Read();
    a.partial.Write(part);
    backend.GatherColumns({a.partial.get(), gathered.get(), 2, 8, 8 * size});
    results[rank].out = gathered.Read();
  });
  for (const Normed& result : results) {
    EXPECT_EQ(result.residual[0], size);
    EXPECT_TRUE(std::isnan(result.residual[kHidden]));
    EXPECT_EQ(result.residual[2 * kHidden], size);
    EXPECT_TRUE(std::isnan(result.out[8 + 3]));
    EXPECT_EQ(result.out[8 + 4], kLowest);
    EXPECT_EQ(result.out[8 + 5], 2.0f);
  }
}

TEST_P(CudaRanksTest, GatheredColumnsAreThoseOfAllRanks) {
  const int size = GetParam();
  DeviceRanks ranks(size);
  constexpr size_t kMostPart = 70 * 8192;  // more than a slot holds
  struct Shape {
    int32_t rows, part_columns, missing;
  };
  const std::vector<Shape> shapes = {{1, 7, 0},   {3, 7, 2},    {1, 16, 0},      {64, 100, 4},
                                     {5, 33, 20}, {1, 8192, 8}, {70, 8192, 100}, {69, 8190, 1}};
  std::vector<std::unique_ptr<DeviceArray<float>>> parts, outs;
  for (int rank = 0; rank < size; ++rank) {
    parts.push_back(std::make_unique<DeviceArray<float>>(ranks.backend(rank), kMostPart));
    outs.push_back(std::make_unique<DeviceArray<float>>(ranks.backend(rank), kMostPart * size));
  }
  OnEachRank(size, [&](int rank) {
    Backend& backend = ranks.backend(rank);
    for (const Shape& shape : shapes) {
      const int32_t columns = shape.part_columns * size - shape.missing;
      const auto value = [&](int from, int32_t row, int32_t column) {
        return static_cast<float>(from * 1000000 + row * 10000 + column);
      };
      std::vector<float> part;
      for (int32_t row = 0; row < shape.rows; ++row) {
        for (int32_t i = 0; i < shape.part_columns; ++i) part.push_back(value(rank, row, i));
      }
      parts[rank]->Write(part);
      backend.GatherColumns(
          {parts[rank]->get(), outs[rank]->get(), shape.rows, shape.part_columns, columns});
      std::vector<float> out(size_t{1} * shape.rows * columns);
      backend.CopyToHost(out.data(), outs[rank]->get(), out.size() * sizeof(float));
      ASSERT_EQ(backend.Synchronize(), "");
      for (int32_t row = 0; row < shape.rows; ++row) {
        for (int32_t i = 0; i < columns; ++i) {
          ASSERT_EQ(out[size_t{1} * row * columns + i],
                    value(i / shape.part_columns, row, i % shape.part_columns))
              << rank << ": " << shape.rows << " x " << shape.part_columns << ", " << row << ", "
              << i;
        }
      }
    }
  });
}

// Recorded and not, of changing sizes; the numbers change every time, and ranks come late in turn.
TEST_P(CudaRanksTest, ManyEpochsAtUnevenSpeeds) {
  const int size = GetParam();
  DeviceRanks ranks(size);
  constexpr int32_t kHidden = 1024, kTokens = 5, kRounds = 400, kPartials = 7;
  constexpr size_t kElements = size_t{kHidden} * kTokens;
  std::vector<std::vector<std::vector<float>>> partials(kPartials);  // [kPartials][ranks]
  for (int i = 0; i < kPartials; ++i) {
    for (int rank = 0; rank < size; ++rank) {
      partials[i].push_back(RandomFloats(kElements, i * 10 + rank));
    }
  }
  std::vector<float> expected(kElements, 0.0f);
  for (int round = 0; round < kRounds; ++round) {
    AddPartials(partials[round % kPartials], kHidden, &expected);
    // The first row only.
    std::vector<float> row(expected.begin(), expected.begin() + kHidden);
    AddPartials(partials[round % kPartials], kHidden, &row);
    std::copy(row.begin(), row.end(), expected.begin());
  }
  std::vector<std::unique_ptr<ReduceNormArrays>> arrays;
  for (int rank = 0; rank < size; ++rank) {
    arrays.push_back(std::make_unique<ReduceNormArrays>(ranks.backend(rank), kElements, kHidden));
  }
  OnEachRank(size, [&](int rank) {
    Backend& backend = ranks.backend(rank);
    ReduceNormArrays& a = *arrays[rank];
    a.weight.Write(std::vector<bfloat16>(kHidden, ToBFloat16(1.0f)));
    std::minstd_rand random(rank + 1);
    const auto step = [&] {
      backend.ReduceNorm(a.Params(kTokens, kHidden, DType::kBF16));
      backend.GatherColumns({a.partial.get(), a.out.get(), 1, 40, 40 * size});
      backend.ReduceNorm(a.Params(1, kHidden, DType::kBF16));
    };
    for (int round = 0; round < kRounds; ++round) {
      if (random() % 16 == 0)
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 800));
      a.partial.Write(partials[round % kPartials][rank]);
      if (round == 10) {
        backend.BeginGraph(1);
        step();
        ASSERT_EQ(backend.EndGraph(), "");
      } else if (round < 10 || round % 5 == 0) {
        step();
      } else {
        ASSERT_TRUE(backend.RunGraph(1));
      }
      if (round % 50 == rank) {
        ASSERT_EQ(backend.Synchronize(), "");
      }
    }
    ASSERT_EQ(a.residual.Read(), expected) << "rank " << rank;
  });
}

TEST_P(CudaRanksTest, AFailureEndsWhatWaitsOnTheDevice) {
  const int size = GetParam();
  DeviceRanks ranks(size);
  ReduceNormArrays a(ranks.backend(0), 64 * 1024, 1024);
  OnEachRank(2, [&](int thread) {
    if (thread == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      ranks.group(size - 1).Fail(size - 1, "it does not come");
      return;
    }
    Backend& backend = ranks.backend(0);
    for (int i = 0; i < 160; ++i) backend.ReduceNorm(a.Params(64, 1024, DType::kBF16));
    backend.GatherColumns({a.partial.get(), a.out.get(), 1, 40, 40 * size});
    const auto begin = std::chrono::steady_clock::now();
    const std::string error = backend.Synchronize();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1200));
    EXPECT_EQ(error, "rank " + std::to_string(size - 1) + " of " + std::to_string(size) +
                         ": it does not come");
  });
}

TEST(CudaRanksOptionsTest, MoreRanksThanGpusAreRefused) {
  if (!HasDevice()) GTEST_SKIP() << "no CUDA device here";
  int devices = 0;
  ASSERT_EQ(cudaGetDeviceCount(&devices), cudaSuccess);
  const auto group = RankGroup::Create(8);
  if (devices >= 8) GTEST_SKIP() << "there are as many";
  std::string error;
  EXPECT_EQ(MakeCudaBackend({.group = group.get()}, &error), nullptr);
  EXPECT_EQ(error, "tensor_parallel_size: must be at most " + std::to_string(devices) +
                       ", the number of GPUs, got 8");
  EXPECT_FALSE(group->failed());
}

}  // namespace
}  // namespace tidal
