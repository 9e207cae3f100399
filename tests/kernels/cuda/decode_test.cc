// Decode attention of the CUDA back end against the double-precision reference, and the contract
// that equal batches give equal bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "kernels/cuda/attention/decode.h"
#include "kernels/reference/attention_decode.h"
#include "tests/kernels/cuda/device_decode_case.h"

namespace tidal {
namespace {

// Of outputs of order 1. Weights are rounded to bf16 (half a unit: 2^-9 of each), which a few
// tokens of similar weight do not average out.
constexpr double kTolerance = 4e-3;
const bfloat16 kNan = ToBFloat16(std::numeric_limits<float>::quiet_NaN());

class CudaDecodeTest : public CudaFixture {};

std::vector<int32_t> Iota(int32_t count) {
  std::vector<int32_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

// `count` different positions of a context, ascending.
std::vector<int32_t> RandomPositions(int32_t context_len, int32_t count, uint32_t seed) {
  std::vector<int32_t> positions = Iota(context_len);
  std::shuffle(positions.begin(), positions.end(), std::mt19937(seed));
  positions.resize(count);
  std::sort(positions.begin(), positions.end());
  return positions;
}

std::string Name(const DecodeShape& s) {
  return "H=" + std::to_string(s.num_heads) + " KV=" + std::to_string(s.num_kv_heads) +
         " D=" + std::to_string(s.head_dim) + " B=" + std::to_string(s.block_size);
}

std::vector<int32_t> Dense(const DecodeCase& c) { return std::vector<int32_t>(c.rows(), 0); }

std::vector<float> RunPaged(DecodeCase& c) { return DeviceDecodeCase(c, Dense(c)).RunPaged(); }

// `selection` holds min(budget, context) tokens of every sparse row.
std::vector<float> RunSparse(DecodeCase& c, const std::vector<int32_t>& budgets,
                             SelectionBuffer& selection) {
  return DeviceDecodeCase(c, budgets).RunSparse(selection);
}

// The reference of rows that pad a batch: they keep what was there.
std::vector<double> Reference(DecodeCase& c, std::vector<double> out) {
  const int64_t row_size = c.out_size() / c.rows();
  for (int32_t row = 0; row < c.rows(); ++row) {
    if (c.context_len(row) == 0) std::fill_n(out.begin() + row * row_size, row_size, kPoison);
  }
  return out;
}
std::vector<double> PagedReference(DecodeCase& c) {
  return Reference(c, reference::PagedDecode(c.Params(nullptr)));
}

TEST_F(CudaDecodeTest, EqualsReferenceForEveryShape) {
  for (const int32_t dim : cuda::DecodeHeadDims()) {
    for (int32_t group : {1, 2, 3, 4, 7, 8, 9, 16}) {
      if (dim != 64 && dim != 128 && (dim / 16 + group) % 3 != 0) continue;
      const int32_t block_size = 16 << (dim / 16 + group) % 3;
      const DecodeShape shape{2 * group, 2, dim, block_size};
      DecodeCase c(shape, {1, 37, 0, 130, 700}, dim * 10 + group);
      ExpectClose(RunPaged(c), PagedReference(c), kTolerance, Name(shape));
    }
  }
}

TEST_F(CudaDecodeTest, EqualsReferenceForEveryNumberOfKvHeads) {
  for (int32_t kv_heads : {1, 3, 7, 8, 40}) {
    const DecodeShape shape{2 * kv_heads, kv_heads, 64, 32};
    DecodeCase c(shape, {2, 129, 1500, 64}, kv_heads);
    ExpectClose(RunPaged(c), PagedReference(c), kTolerance, Name(shape));
  }
}

TEST_F(CudaDecodeTest, EqualsReferenceAroundEveryEdge) {
  for (int32_t kv_heads : {2, 8}) {  // splits of at least 64 and at least 128 tokens
    for (int32_t b : {16, 32, 64}) {
      const DecodeShape shape{2 * kv_heads, kv_heads, 64, b};
      DecodeCase c(
          shape,
          {1, b - 1, b, b + 1, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257, 1024, 3333},
          b);
      ExpectClose(RunPaged(c), PagedReference(c), kTolerance, Name(shape));
    }
  }
}

TEST_F(CudaDecodeTest, EqualsReferenceForEveryWindow) {
  for (int32_t window : {1, 2, 15, 16, 17, 40, 63, 64, 65, 130, 300, 700, 5000}) {
    for (int32_t kv_heads : {2, 8}) {
      const DecodeShape shape{2 * kv_heads, kv_heads, 64, 16 << window % 3, window};
      DecodeCase c(shape, {1, 15, 16, 33, 0, 700, window, window + 1, 2 * window + 17}, window);
      ExpectClose(RunPaged(c), PagedReference(c), kTolerance,
                  Name(shape) + " window " + std::to_string(window));
    }
  }
}

TEST_F(CudaDecodeTest, NothingBeforeAWindowIsRead) {
  const DecodeShape shape{4, 2, 64, 16, 100};
  DecodeCase clean(shape, {700, 107, 99}, 42), poisoned(shape, {700, 107, 99}, 42);
  for (int32_t row = 0; row < clean.rows(); ++row) {
    for (int32_t t = 0; t < clean.context_len(row) - shape.window; ++t) {
      for (int32_t kv = 0; kv < 2; ++kv) {
        std::fill_n(poisoned.KRow(row, t, kv), shape.head_dim, kNan);
        std::fill_n(poisoned.VRow(row, t, kv), shape.head_dim, kNan);
      }
    }
  }
  ExpectSameBits(RunPaged(poisoned), RunPaged(clean), "poisoned");
}

TEST_F(CudaDecodeTest, LongRow) {
  DecodeCase c({4, 2, 128, 16}, {70001, 12}, 2);
  ExpectClose(RunPaged(c), PagedReference(c), kTolerance, "70001 tokens");
}

TEST_F(CudaDecodeTest, MillionTokens) {
  DecodeCase c({2, 1, 16, 64}, {(1 << 20) + 5}, 2);
  ExpectClose(RunPaged(c), PagedReference(c), kTolerance, "2^20 + 5 tokens");
}

TEST_F(CudaDecodeTest, ManyRows) {
  std::vector<int32_t> lens;
  for (int32_t i = 0; i < 1500; ++i) lens.push_back(i % 19 == 7 ? 100 + i % 100 : i % 19);
  DecodeCase c({2, 1, 16, 16}, lens, 10);
  ExpectClose(RunPaged(c), PagedReference(c), kTolerance, "1500 rows");
}

TEST_F(CudaDecodeTest, Bf16OutputIsTheRoundedFloatOutput) {
  DecodeCase c({6, 2, 80, 16}, {33, 700}, 3);
  DeviceDecodeCase device(c, Dense(c));
  const std::vector<float> floats = device.RunPaged();
  DeviceArray<bfloat16> out(device.backend(), floats.size());
  PagedDecodeParams params = device.Params(out.get());
  params.out_type = DType::kBF16;
  device.backend().PagedDecode(params);
  const std::vector<bfloat16> rounded = out.Read();
  for (size_t i = 0; i < rounded.size(); ++i) {
    ASSERT_EQ(rounded[i].bits, ToBFloat16(floats[i]).bits) << i;
  }
}

TEST_F(CudaDecodeTest, LargeScoresDoNotOverflow) {
  DecodeCase c({4, 2, 64, 16}, {900}, 4);
  DeviceDecodeCase device(c, Dense(c));
  device.SetScale(60.0f);  // softmax is one token; most weights underflow
  PagedDecodeParams params = c.Params(nullptr);
  params.softmax_scale = 60.0f;
  ExpectClose(device.RunPaged(), reference::PagedDecode(params), 5e-3, "scale 60");
}

TEST_F(CudaDecodeTest, MinusInfinityScoresWeighNothing) {
  DecodeCase c({2, 1, 32, 16}, {300}, 5);
  const PagedDecodeParams params = c.Params(nullptr);
  // K rows of -infinity against positive queries: the whole first split, and one token after it.
  for (int32_t i = 0; i < 2 * 32; ++i) {
    const_cast<bfloat16*>(params.q)[i] = ToBFloat16(0.25f + 0.01f * i);
  }
  for (int32_t t = 0; t <= 64; ++t) {
    std::fill_n(c.KRow(0, t, 0), 32, ToBFloat16(-std::numeric_limits<float>::infinity()));
  }
  ExpectClose(RunPaged(c), PagedReference(c), kTolerance, "-infinity");
}

TEST_F(CudaDecodeTest, PhysicalBlocksDoNotMatter) {
  const std::vector<int32_t> lens = {1200, 45, 600};
  DecodeCase a({4, 2, 64, 16}, lens, 7, 1);
  DecodeCase b({4, 2, 64, 16}, lens, 7, 99);
  ASSERT_NE(a.Slot(0, 0), b.Slot(0, 0));
  ExpectSameBits(RunPaged(a), RunPaged(b), "other blocks");
}

// How a row is cut depends on its batch, so its sums are rounded elsewhere: nothing else may
// differ.
TEST_F(CudaDecodeTest, BatchMatesDoNotMatter) {
  const DecodeShape shape{6, 2, 64, 16};
  DecodeCase alone(shape, {777}, 9);
  const std::vector<float> expected = RunPaged(alone);
  std::vector<int32_t> lens = {777, 3000, 1, 512, 90};
  for (int32_t i = 0; i < 200; ++i) lens.push_back(i);  // more items than blocks
  DecodeCase batch(shape, lens, 9);
  std::vector<float> out = RunPaged(batch);
  out.resize(expected.size());
  ExpectClose(out, {expected.begin(), expected.end()}, kTolerance, "in a batch");
}

TEST_F(CudaDecodeTest, RunsAgainWithEqualBits) {
  DecodeCase c({8, 8, 128, 16}, {5000, 333, 1, 2048}, 11);
  DeviceDecodeCase device(c, Dense(c));
  const std::vector<float> first = device.RunPaged();
  for (int i = 0; i < 20; ++i) ExpectSameBits(device.RunPaged(), first, "again");
}

// One recorded step serves whatever lengths device memory holds.
TEST_F(CudaDecodeTest, ReplaysWithOtherLengths) {
  DecodeCase c({4, 2, 64, 16}, {1300, 45, 600}, 12);
  DeviceDecodeCase device(c, Dense(c));
  if (!device.backend().supports_graphs()) GTEST_SKIP() << "no graphs";
  DeviceArray<float> out(device.backend(), device.Poison());
  device.backend().BeginGraph(1);
  device.Plan();
  device.backend().PagedDecode(device.Params(out.get()));
  device.backend().EndGraph();
  ExpectClose(out.Read(), PagedReference(c), kTolerance, "recorded");
  for (const std::vector<int32_t>& lens :
       {std::vector<int32_t>{64, 45, 599}, {1, 0, 0}, {1300, 1, 600}}) {
    out.Write(device.Poison());
    device.SetContextLens(lens);
    ASSERT_TRUE(device.backend().RunGraph(1));
    ExpectSameBits(out.Read(), device.RunPaged(), "replayed");
  }
}

TEST_F(CudaDecodeTest, SparseEqualsReference) {
  for (auto granularity : {SelectionGranularity::kShared, SelectionGranularity::kKvHead}) {
    for (int32_t group : {1, 2, 3, 8, 12}) {
      for (int32_t dim : {16, 64, 80, 128}) {
        const DecodeShape shape{2 * group, 2, dim, 16 << (group % 3)};
        // Sparse rows first; the last two are dense, and one only fills the batch.
        const std::vector<int32_t> budgets = {1100, 17, 600, 1100, 1, 1100, 0, 0};
        DecodeCase c(shape, {5, 40, 1500, 2000, 1, 0, 333, 1}, 20 + group);
        SelectionBuffer selection(shape, c.context_lens(), budgets, granularity);
        SelectionBuffer expected(c, granularity);  // dense rows: all tokens
        for (int32_t row = 0; row < c.rows(); ++row) {
          const int32_t length = c.context_len(row);
          for (int32_t set = 0; set < selection.sets(); ++set) {
            if (budgets[row] == 0) {
              expected.Assign(c, row, set, Iota(length));
              continue;
            }
            const std::vector<int32_t> positions =
                RandomPositions(length, std::min(budgets[row], length), row * 10 + set);
            selection.Assign(c, row, set, positions);
            expected.Assign(c, row, set, positions);
          }
        }
        ExpectClose(
            RunSparse(c, budgets, selection),
            Reference(c, reference::SparseDecode(SparseParams(c, expected.view(), nullptr))),
            kTolerance, Name(shape));
      }
    }
  }
}

TEST_F(CudaDecodeTest, SparseOverTheWholeContextIsPagedDecodeBitForBit) {
  for (auto granularity : {SelectionGranularity::kShared, SelectionGranularity::kKvHead}) {
    for (int32_t kv_heads : {2, 8}) {
      const DecodeShape shape{2 * kv_heads, kv_heads, 64, 16};
      DecodeCase c(shape, {1, 300, 128, 1300, 0, 129}, 30);
      const std::vector<int32_t> budgets = {1300, 300, 128, 1300, 5, 0};
      SelectionBuffer selection(shape, c.context_lens(), budgets, granularity);
      for (int32_t row = 0; budgets[row] > 0; ++row) {
        for (int32_t set = 0; set < selection.sets(); ++set) {
          selection.Assign(c, row, set, Iota(c.context_len(row)));
        }
      }
      ExpectSameBits(RunSparse(c, budgets, selection), RunPaged(c), "the whole context");
    }
  }
}

TEST_F(CudaDecodeTest, SparseReadsSelectedRowsOnly) {
  for (auto granularity : {SelectionGranularity::kShared, SelectionGranularity::kKvHead}) {
    const DecodeShape shape{4, 2, 64, 16};
    const std::vector<int32_t> budgets = {75, 64};
    DecodeCase clean(shape, {200, 1000}, 40), poisoned(shape, {200, 1000}, 40);
    SelectionBuffer selection(clean, granularity);
    for (int32_t row = 0; row < 2; ++row) {
      for (int32_t kv = 0; kv < 2; ++kv) {
        const int32_t set = selection.sets() == 1 ? 0 : kv;
        const int32_t length = clean.context_len(row);
        const std::vector<int32_t> positions = RandomPositions(length, budgets[row], row * 2 + set);
        selection.Assign(clean, row, set, positions);
        const std::set<int32_t> chosen(positions.begin(), positions.end());
        for (int32_t t = 0; t < length; ++t) {
          if (chosen.count(t)) continue;
          std::fill_n(poisoned.KRow(row, t, kv), shape.head_dim, kNan);
          std::fill_n(poisoned.VRow(row, t, kv), shape.head_dim, kNan);
        }
      }
    }
    const std::vector<float> expected = RunSparse(clean, budgets, selection);
    ExpectSameBits(RunSparse(poisoned, budgets, selection), expected, "poisoned");

    // And a selected row does count: NaN in K row of KV head 1 of row 1 spoils its group's heads
    // and nothing else.
    const int32_t last = selection.sets() - 1;
    *poisoned.KRow(1, selection.Positions(1, last).back(), 1) = kNan;
    const std::vector<float> spoilt = RunSparse(poisoned, budgets, selection);
    for (size_t i = 0; i < spoilt.size(); ++i) {
      if (i / shape.head_dim >= 4 + 2) {
        EXPECT_TRUE(std::isnan(spoilt[i])) << i;
      } else {
        EXPECT_EQ(spoilt[i], expected[i]) << i;
      }
    }
  }
}

TEST_F(CudaDecodeTest, ANanInVSpoilsItsElementOnly) {
  DecodeCase c({4, 2, 64, 16}, {100}, 41);
  const std::vector<float> expected = RunPaged(c);
  c.VRow(0, 99, 0)[5] = kNan;
  const std::vector<float> out = RunPaged(c);
  for (size_t i = 0; i < out.size(); ++i) {
    if (i / 64 < 2 && i % 64 == 5) {
      EXPECT_TRUE(std::isnan(out[i])) << i;
    } else {
      EXPECT_EQ(out[i], expected[i]) << i;
    }
  }
}

// A selecting layer's own output is that of a dense layer, whatever is kept beside it.
TEST_F(CudaDecodeTest, SelectingGivesPagedDecodesOutput) {
  for (int32_t group : {1, 4, 16}) {
    const DecodeShape shape{2 * group, 2, 128, 16};
    const std::vector<int32_t> budgets = {64, 64, 64, 1, 0};
    DecodeCase c(shape, {1000, 33, 0, 16, 500}, 50 + group);
    DeviceDecodeCase device(c, budgets);
    const std::vector<float> expected = device.RunPaged();
    DeviceArray<float> out(device.backend(), device.Poison());
    SelectionBuffer selection(shape, c.context_lens(), budgets, SelectionGranularity::kKvHead);
    const DeviceSelection device_selection(device.backend(), selection);
    DeviceArray<int32_t> recency(device.backend(), std::vector<int32_t>{8, 8, 8, 0, 0});
    SelectTokensParams select{};
    select.selection = device_selection.view();
    select.token_budgets = device.budgets();
    select.recency = recency.get();
    select.sinks = 2;
    select.score = SelectionScore::kSoftmaxSum;
    device.Plan();
    device.backend().ScoringDecode(device.Params(out.get()), select);
    device.backend().SelectTokens(device.Params(out.get()), select);
    ExpectClose(out.Read(), {expected.begin(), expected.end()}, kTolerance,
                "group " + std::to_string(group));

    // A row of 33 tokens with a budget of 64 selects them all.
    device_selection.ReadTo(&selection);
    for (int32_t set = 0; set < 2; ++set) EXPECT_EQ(selection.Positions(1, set), Iota(33));
  }
}

}  // namespace
}  // namespace tidal
