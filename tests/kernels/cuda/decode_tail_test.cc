// Decode attention under loads that end in short splits, dealt out on demand: every token counts
// once, whoever computes it.
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
#include "tests/kernels/cuda/device_decode_case.h"
#include "tests/kernels/cuda/long_decode_case.h"

namespace tidal {
namespace {

// Of each output. Weights are rounded to bf16 (2^-9 of each, at most); 16 tokens that are missing
// take 0.0034 of the longest row's outputs, and more of the others'.
constexpr double kTolerance = 3.3e-3;

class CudaDecodeTailTest : public CudaFixture {};

void ExpectRelativelyClose(const std::vector<float>& actual, const std::vector<double>& expected,
                           const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], kTolerance * std::abs(expected[i]))
        << what << ", element " << i;
  }
}

// `rows` rows of `tokens` tokens, and a few more each.
std::vector<int32_t> Lengths(int32_t rows, int32_t tokens) {
  std::vector<int32_t> lens;
  for (int32_t row = 0; row < rows; ++row) lens.push_back(tokens + row * 7);
  return lens;
}

// More heads than twice the blocks of the device: merged four at once.
TEST_F(CudaDecodeTailTest, ManyEqualRows) {
  LongDecodeCase c({32, 8, 128, 16}, Lengths(32, 4000));
  ExpectRelativelyClose(c.RunPaged(), c.Reference(), "32 rows");
}

// More heads than blocks: merged two at once.
TEST_F(CudaDecodeTailTest, GroupsOfTwo) {
  LongDecodeCase c({16, 8, 128, 32}, Lengths(20, 6200));
  ExpectRelativelyClose(c.RunPaged(), c.Reference(), "20 rows");
}

TEST_F(CudaDecodeTailTest, OneLongRowAmongShortOnes) {
  for (int32_t block_size : {16, 32, 64}) {
    std::vector<int32_t> lens;
    for (int32_t row = 0; row < 90; ++row) lens.push_back(row % 75);
    lens[40] = 150'001;
    LongDecodeCase c({8, 8, 128, block_size}, lens);
    ExpectRelativelyClose(c.RunPaged(), c.Reference(), "B=" + std::to_string(block_size));
  }
}

// And odd lengths, and rows that pad the batch.
TEST_F(CudaDecodeTailTest, FewLongRows) {
  LongDecodeCase c({24, 8, 128, 64}, {50'003, 1, 0, 17'017, 40'009, 0});
  ExpectRelativelyClose(c.RunPaged(), c.Reference(), "few rows");
}

TEST_F(CudaDecodeTailTest, OneKvHead) {
  LongDecodeCase c({4, 1, 128, 16}, {600'007, 400'001});
  ExpectRelativelyClose(c.RunPaged(), c.Reference(), "one KV head");
}

TEST_F(CudaDecodeTailTest, Windows) {
  std::vector<int32_t> lens = Lengths(45, 5000);
  lens[3] = 70;
  LongDecodeCase c({8, 8, 128, 32, /*window=*/3001}, lens);
  ExpectRelativelyClose(c.RunPaged(), c.Reference(), "windows");
}

TEST_F(CudaDecodeTailTest, EqualBatchesGiveEqualBits) {
  LongDecodeCase c({32, 8, 128, 16}, Lengths(33, 4100));
  const std::vector<float> first = c.RunPaged();
  for (int i = 0; i < 10; ++i) ExpectSameBits(c.RunPaged(), first, "again");
}

// What one run drew from the counter is gone at the next, be it of another batch.
TEST_F(CudaDecodeTailTest, ReplaysWithOtherLengths) {
  const std::vector<int32_t> long_lens = Lengths(33, 4100);
  const std::vector<int32_t> short_lens = Lengths(33, 200);
  LongDecodeCase c({32, 8, 128, 16}, long_lens);
  if (!c.backend().supports_graphs()) GTEST_SKIP() << "no graphs";
  const std::vector<float> of_long = c.RunPaged();
  c.SetLens(short_lens);
  const std::vector<float> of_short = c.RunPaged();
  c.backend().BeginGraph(1);
  c.Plan();
  c.backend().PagedDecode(c.Params());
  c.backend().PagedDecode(c.Params());  // the next layer
  c.backend().EndGraph();
  for (int i = 0; i < 3; ++i) {
    for (const bool is_long : {true, true, false, false}) {
      c.ClearOut();
      c.SetLens(is_long ? long_lens : short_lens);
      ASSERT_TRUE(c.backend().RunGraph(1));
      ExpectSameBits(c.out().Read(), is_long ? of_long : of_short, "replayed");
    }
  }
}

// But for the order in which splits are added up.
TEST_F(CudaDecodeTailTest, SparseOverTheWholeContextIsPagedDecode) {
  const std::vector<int32_t> lens = Lengths(33, 4100);
  const int32_t budget = lens.back();
  const DecodeShape shape{32, 8, 128, 16};
  LongDecodeCase c(shape, lens, budget);
  const std::vector<float> expected = c.RunPaged();
  SelectionBuffer selection(shape, lens, std::vector<int32_t>(lens.size(), budget),
                            SelectionGranularity::kShared);
  selection.counts() = lens;
  for (int32_t row = 0; row < c.rows(); ++row) {
    for (int32_t t = 0; t < lens[row]; ++t) {
      selection.slots()[selection.row_begins()[row] + t] = c.Slot(row, t);
    }
  }
  const DeviceSelection on_device(c.backend(), selection);
  const PagedDecodeParams dense = c.Params();
  c.ClearOut();
  c.Plan();
  c.backend().SparseDecode({.q = dense.q,
                            .kv = dense.kv,
                            .tables = dense.tables,
                            .token_budgets = c.budgets(),
                            .selection = on_device.view(),
                            .out = dense.out,
                            .out_type = dense.out_type,
                            .rows = dense.rows,
                            .num_heads = dense.num_heads,
                            .max_context_len = dense.max_context_len,
                            .softmax_scale = dense.softmax_scale});
  ExpectClose(c.out().Read(), {expected.begin(), expected.end()}, 1e-5, "sparse");
}

TEST_F(CudaDecodeTailTest, SelectingGivesPagedDecodesOutputAndTheBestTokens) {
  constexpr int32_t kBudget = 500, kSinks = 4, kRecency = 100, kLast = 1;
  const std::vector<int32_t> lens = {130'001, 60'000, 90'003};
  const DecodeShape shape{32, 8, 128, 32};
  LongDecodeCase c(shape, lens, kBudget);
  const std::vector<float> expected = c.RunPaged();
  SelectionBuffer selection(shape, lens, std::vector<int32_t>(lens.size(), kBudget),
                            SelectionGranularity::kShared);
  const DeviceSelection on_device(c.backend(), selection);
  DeviceArray<int32_t> recency(c.backend(), std::vector<int32_t>(lens.size(), kRecency));
  SelectTokensParams select{};
  select.selection = on_device.view();
  select.token_budgets = c.budgets();
  select.recency = recency.get();
  select.sinks = kSinks;
  select.score = SelectionScore::kSoftmaxSum;
  const std::vector<double> scores = reference::SelectionScores(
      c.HostParams(), SelectionGranularity::kShared, SelectionScore::kSoftmaxSum, kLast)[0];
  const std::vector<int32_t> want = reference::SelectTokens(scores, kBudget, kSinks, kRecency);
  const auto forced = [&](int32_t t) { return t < kSinks || t >= lens[kLast] - 1 - kRecency; };
  double threshold = std::numeric_limits<double>::infinity();
  for (int32_t t : want) {
    if (!forced(t)) threshold = std::min(threshold, scores[t]);
  }
  for (int i = 0; i < 2; ++i) {
    c.ClearOut();
    c.Plan();
    c.backend().ScoringDecode(c.Params(), select);
    c.backend().SelectTokens(c.Params(), select);
    ExpectRelativelyClose(c.out().Read(), {expected.begin(), expected.end()}, "selecting");
    on_device.ReadTo(&selection);
    EXPECT_EQ(selection.counts(), std::vector<int32_t>(lens.size(), kBudget));
    const std::vector<int32_t> got = selection.Positions(kLast, 0);
    std::vector<int32_t> differ;
    std::set_symmetric_difference(want.begin(), want.end(), got.begin(), got.end(),
                                  std::back_inserter(differ));
    // Logits are kept in 16 bits: a score may be off by so much of itself, and the one that it was
    // compared with.
    const double rounding = std::exp2(-8) * std::log(2.0);
    for (int32_t t : differ) {
      EXPECT_FALSE(forced(t)) << t;
      EXPECT_LE(std::abs(scores[t] - threshold), 2 * rounding * threshold) << t;
    }
  }
}

}  // namespace
}  // namespace tidal
