#include "kernels/reference/attention_decode.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "kernels/cpu/attention/attention_kernels.h"
#include "tests/kernels/decode_case.h"

namespace tidal {
namespace {

constexpr double kTolerance = 1e-5;  // of outputs of order 1
constexpr int32_t kSplit = cpu::kSplitTokens;

class AttentionDecodeTest : public DecodeKernelTest {};
INSTANTIATE_TEST_SUITE_P(Isa, AttentionDecodeTest, testing::Bool(), IsaName);

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

TEST_P(AttentionDecodeTest, EqualsReferenceForEveryShape) {
  for (int32_t dim : {16, 32, 48, 64, 80, 128, 256}) {
    for (int32_t group : {1, 2, 3, 4, 7, 8, 20}) {
      const int32_t block_size = 16 << (dim / 16 + group) % 3;
      const DecodeShape shape{2 * group, 2, dim, block_size};
      DecodeCase c(shape, {1, 37, 130}, dim * 10 + group);
      const std::vector<float> out = RunPaged(c);
      ExpectClose(out, reference::PagedDecode(c.Params(nullptr)), kTolerance, Name(shape));
    }
  }
}

TEST_P(AttentionDecodeTest, EqualsReferenceAroundEveryEdge) {
  for (int32_t b : {16, 32, 64}) {
    const DecodeShape shape{4, 2, 64, b};
    DecodeCase c(
        shape,
        {1, b - 1, b, b + 1, kSplit - 1, kSplit, kSplit + 1, 2 * kSplit, 2 * kSplit + 17, 3333}, b);
    const std::vector<float> out = RunPaged(c, 2);
    ExpectClose(out, reference::PagedDecode(c.Params(nullptr)), kTolerance, Name(shape));
  }
}

TEST_P(AttentionDecodeTest, EqualsReferenceForEveryWindow) {
  for (int32_t window : {1, 2, 16, 17, 40, kSplit - 1, kSplit, kSplit + 1, 1300, 5000}) {
    const DecodeShape shape{6, 2, 48, 16 << window % 3, window};
    DecodeCase c(shape, {1, 15, 16, 33, 700, kSplit + window, 2 * kSplit + 17}, window);
    const std::vector<float> out = RunPaged(c, 2);
    ExpectClose(out, reference::PagedDecode(c.Params(nullptr)), kTolerance,
                Name(shape) + " window " + std::to_string(window));
    EXPECT_EQ(out, RunPaged(c, 1));
  }
}

TEST_P(AttentionDecodeTest, TokensBeforeTheWindowAreNotRead) {
  const DecodeShape shape{4, 2, 64, 16, 37};
  DecodeCase clean(shape, {200, 20, 1000}, 42), poisoned(shape, {200, 20, 1000}, 42);
  const bfloat16 nan = ToBFloat16(std::numeric_limits<float>::quiet_NaN());
  for (int32_t row = 0; row < clean.rows(); ++row) {
    for (int32_t t = 0; t < clean.context_len(row) - shape.window; ++t) {
      for (int32_t kv = 0; kv < 2; ++kv) {
        std::fill_n(poisoned.KRow(row, t, kv), shape.head_dim, nan);
        std::fill_n(poisoned.VRow(row, t, kv), shape.head_dim, nan);
      }
    }
  }
  EXPECT_EQ(RunPaged(poisoned), RunPaged(clean));
}

TEST_P(AttentionDecodeTest, Bf16OutputIsTheRoundedFloatOutput) {
  DecodeCase c({6, 2, 80, 16}, {33, 700}, 3);
  const std::vector<float> floats = RunPaged(c);
  std::vector<bfloat16> out(floats.size());
  PagedDecodeParams params = c.Params(nullptr);
  params.out = out.data();
  params.out_type = DType::kBF16;
  cpu::ThreadPool pool(1);
  cpu::DecodeWorkspace workspace;
  ASSERT_TRUE(workspace.Reserve(c.Limits(), 1));
  cpu::PagedDecode(params, kernels(), pool, workspace);
  for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i].bits, ToBFloat16(floats[i]).bits);
}

TEST_P(AttentionDecodeTest, LargeScoresDoNotOverflow) {
  DecodeCase c({4, 2, 64, 16}, {900}, 4);
  std::vector<float> out(c.out_size());
  PagedDecodeParams params = c.Params(out.data());
  params.softmax_scale = 60.0f;  // softmax is one token; most weights underflow
  cpu::ThreadPool pool(1);
  cpu::DecodeWorkspace workspace;
  ASSERT_TRUE(workspace.Reserve(c.Limits(), 1));
  cpu::PagedDecode(params, kernels(), pool, workspace);
  ExpectClose(out, reference::PagedDecode(params), 5e-3, "scale 60");
}

TEST_P(AttentionDecodeTest, MinusInfinityScoresWeighNothing) {
  DecodeCase c({2, 1, 32, 16}, {kSplit + 40}, 5);
  std::vector<float> out(c.out_size());
  const PagedDecodeParams params = c.Params(out.data());
  // K rows of -infinity against positive queries: the whole first split, and one token after it.
  for (int32_t i = 0; i < 2 * 32; ++i) {
    const_cast<bfloat16*>(params.q)[i] = ToBFloat16(0.25f + 0.01f * i);
  }
  for (int32_t t = 0; t <= kSplit; ++t) {
    std::fill_n(c.KRow(0, t, 0), 32, ToBFloat16(-std::numeric_limits<float>::infinity()));
  }
  ExpectClose(RunPaged(c), reference::PagedDecode(params), kTolerance, "-infinity");
}

// The contract: bit for bit, whatever runs beside the row or wherever its tokens lie.
TEST_P(AttentionDecodeTest, PhysicalBlocksDoNotMatter) {
  const std::vector<int32_t> lens = {1200, 45, 600};
  DecodeCase a({4, 2, 64, 16}, lens, 7, 1);
  DecodeCase b({4, 2, 64, 16}, lens, 7, 99);
  ASSERT_NE(a.Slot(0, 0), b.Slot(0, 0));
  EXPECT_EQ(RunPaged(a), RunPaged(b));
}

TEST_P(AttentionDecodeTest, ThreadCountDoesNotMatter) {
  // Few splits (handed out by KV head) and many (by split).
  for (const std::vector<int32_t>& lens :
       {std::vector<int32_t>{1300}, std::vector<int32_t>{9000, 700, 4000, 1}}) {
    DecodeCase c({4, 2, 32, 32}, lens, 8);
    const std::vector<float> one = RunPaged(c, 1);
    EXPECT_EQ(one, RunPaged(c, 2));
    EXPECT_EQ(one, RunPaged(c, 3));
  }
}

TEST_P(AttentionDecodeTest, BatchMatesDoNotMatter) {
  const DecodeShape shape{6, 2, 64, 16};
  DecodeCase alone(shape, {777}, 9);
  const std::vector<float> expected = RunPaged(alone);
  DecodeCase batch(shape, {777, 3000, 1, 512, 90}, 9);
  std::vector<float> out = RunPaged(batch, 2);
  out.resize(expected.size());
  EXPECT_EQ(out, expected);
}

// More rows than one group of the workspace holds.
TEST_P(AttentionDecodeTest, ManyRowsAreComputedInGroups) {
  std::vector<int32_t> lens;
  for (int32_t i = 0; i < 600; ++i) lens.push_back(1 + i % 19);
  DecodeCase c({2, 1, 16, 16}, lens, 10);
  ExpectClose(RunPaged(c, 2), reference::PagedDecode(c.Params(nullptr)), kTolerance, "600 rows");
}

TEST_P(AttentionDecodeTest, SparseEqualsReference) {
  for (auto granularity : {SelectionGranularity::kShared, SelectionGranularity::kKvHead}) {
    for (int32_t group : {1, 2, 3, 8}) {
      const DecodeShape shape{2 * group, 2, group == 3 ? 80 : 64, 16 << (group % 3)};
      DecodeCase c(shape, {5, 40, 1500, 2000, 1}, 20 + group);
      SelectionBuffer selection(c, granularity);
      for (int32_t row = 0; row < c.rows(); ++row) {
        for (int32_t set = 0; set < selection.sets(); ++set) {
          // 600 of 1500 and 1100 of 2000: several splits.
          const int32_t count = std::min(c.context_len(row), row == 2 ? 600 : 1100);
          selection.Assign(c, row, set, RandomPositions(c.context_len(row), count, row * 10 + set));
        }
      }
      const std::vector<float> out = RunSparse(c, selection.view(), 2);
      ExpectClose(out, reference::SparseDecode(SparseParams(c, selection.view(), nullptr)),
                  kTolerance, Name(shape));
      EXPECT_EQ(out, RunSparse(c, selection.view(), 1));
      EXPECT_EQ(out, RunSparse(c, selection.view(), 3));
    }
  }
}

TEST_P(AttentionDecodeTest, SparseOverTheWholeContextIsPagedDecodeBitForBit) {
  for (auto granularity : {SelectionGranularity::kShared, SelectionGranularity::kKvHead}) {
    DecodeCase c({4, 2, 64, 16}, {1, 300, kSplit, 1300}, 30);
    SelectionBuffer selection(c, granularity);
    for (int32_t row = 0; row < c.rows(); ++row) {
      for (int32_t set = 0; set < selection.sets(); ++set) {
        selection.Assign(c, row, set, Iota(c.context_len(row)));
      }
    }
    EXPECT_EQ(RunSparse(c, selection.view(), 2), RunPaged(c, 2));
  }
}

TEST_P(AttentionDecodeTest, SparseReadsSelectedRowsOnly) {
  const bfloat16 nan = ToBFloat16(std::numeric_limits<float>::quiet_NaN());
  for (auto granularity : {SelectionGranularity::kShared, SelectionGranularity::kKvHead}) {
    const DecodeShape shape{4, 2, 64, 16};
    DecodeCase clean(shape, {200, 1000}, 40), poisoned(shape, {200, 1000}, 40);
    SelectionBuffer selection(clean, granularity);
    for (int32_t row = 0; row < 2; ++row) {
      for (int32_t kv = 0; kv < 2; ++kv) {
        const int32_t set = selection.sets() == 1 ? 0 : kv;
        const int32_t length = clean.context_len(row);
        const std::vector<int32_t> positions =
            RandomPositions(length, row == 0 ? 75 : 64, row * 2 + set);
        selection.Assign(clean, row, set, positions);
        const std::set<int32_t> chosen(positions.begin(), positions.end());
        for (int32_t t = 0; t < length; ++t) {
          if (chosen.count(t)) continue;
          std::fill_n(poisoned.KRow(row, t, kv), shape.head_dim, nan);
          std::fill_n(poisoned.VRow(row, t, kv), shape.head_dim, nan);
        }
      }
    }
    const std::vector<float> expected = RunSparse(clean, selection.view());
    EXPECT_EQ(RunSparse(poisoned, selection.view()), expected);

    // And a selected row does count: NaN in K row of KV head 1 of row 1 spoils its group's heads
    // and nothing else.
    const int32_t last = selection.sets() - 1;
    *poisoned.KRow(1, selection.Positions(1, last).back(), 1) = nan;
    const std::vector<float> spoilt = RunSparse(poisoned, selection.view());
    for (int32_t i = 0; i < spoilt.size(); ++i) {
      if (i / shape.head_dim >= 4 + 2) {
        EXPECT_TRUE(std::isnan(spoilt[i])) << i;
      } else {
        EXPECT_EQ(spoilt[i], expected[i]) << i;
      }
    }
  }
}

TEST_P(AttentionDecodeTest, ANanInVSpoilsItsElementOnly) {
  DecodeCase c({4, 2, 64, 16}, {100}, 41);
  const std::vector<float> expected = RunPaged(c);
  c.VRow(0, 99, 0)[5] = ToBFloat16(std::numeric_limits<float>::quiet_NaN());
  const std::vector<float> out = RunPaged(c);
  for (int32_t i = 0; i < out.size(); ++i) {
    if (i / 64 < 2 && i % 64 == 5) {
      EXPECT_TRUE(std::isnan(out[i])) << i;
    } else {
      EXPECT_EQ(out[i], expected[i]) << i;
    }
  }
}

}  // namespace
}  // namespace tidal
