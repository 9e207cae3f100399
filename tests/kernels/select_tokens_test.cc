#include "kernels/cpu/attention/select_tokens.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/reference/attention_decode.h"
#include "tests/kernels/decode_case.h"

namespace tidal {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class SelectTokensTest : public DecodeKernelTest {
 protected:
  // The set chosen from `scores`, in a context whose block tables are reversed.
  std::vector<int32_t> Select(const std::vector<float>& scores, int32_t budget, int32_t sinks,
                              int32_t recency) {
    const int32_t length = static_cast<int32_t>(scores.size());
    std::vector<uint32_t> keys(length), scratch(length + 16);
    std::transform(scores.begin(), scores.end(), keys.begin(), cpu::RankKey);
    std::vector<int32_t> blocks(length / 16 + 1);
    for (int32_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<int32_t>(blocks.size()) - i;
    const int32_t count = std::min(budget, length);
    std::vector<int32_t> positions(count + 1, -7), slots(count + 1, -7);
    cpu::SelectTask task{};
    task.keys = keys.data();
    task.blocks = blocks.data();
    task.block_size = 16;
    task.context_len = length;
    task.token_budget = budget;
    task.sinks = sinks;
    task.recency = recency;
    task.positions = positions.data();
    task.slots = slots.data();
    cpu::SelectTokens(task, *kernels().select, scratch.data());
    EXPECT_EQ(positions.back(), -7);  // nothing is written past the set
    EXPECT_EQ(slots.back(), -7);
    positions.pop_back();
    for (int32_t i = 0; i < count; ++i) {
      EXPECT_EQ(slots[i], blocks[positions[i] / 16] * 16 + positions[i] % 16);
    }
    return positions;
  }

  void ExpectEqualsReference(const std::vector<float>& scores, int32_t budget, int32_t sinks,
                             int32_t recency) {
    const std::vector<double> wide(scores.begin(), scores.end());
    ASSERT_EQ(Select(scores, budget, sinks, recency),
              reference::SelectTokens(wide, budget, sinks, recency))
        << "length " << scores.size() << " budget " << budget << " sinks " << sinks << " recency "
        << recency;
  }
};
INSTANTIATE_TEST_SUITE_P(Isa, SelectTokensTest, testing::Bool(), IsaName);

// Probabilities as attention has them: many tiny ones, few large.
std::vector<float> Probabilities(int32_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 4.0f);
  std::vector<float> scores(count);
  for (float& x : scores) x = std::exp(normal(random));
  return scores;
}

TEST(RankKeyTest, OrdersAsTheScoresDo) {
  const std::vector<float> ascending = {-kInfinity, -1e30f, -1.0f, -1e-40f, 0.0f,
                                        1e-40f,     1e-3f,  1.0f,  1e30f,   kInfinity};
  for (size_t i = 1; i < ascending.size(); ++i) {
    EXPECT_LT(cpu::RankKey(ascending[i - 1]), cpu::RankKey(ascending[i]));
  }
  EXPECT_EQ(cpu::RankKey(-0.0f), cpu::RankKey(0.0f));
  EXPECT_EQ(cpu::RankKey(kNan), cpu::RankKey(-kInfinity));
  EXPECT_EQ(cpu::RankKey(-kNan), cpu::RankKey(-kInfinity));
}

TEST_P(SelectTokensTest, EqualsReferenceOnRandomScores) {
  for (int32_t length : {1, 2, 15, 16, 17, 63, 100, 1000, 2047, 2048, 2049, 5003, 20011}) {
    const std::vector<float> scores = Probabilities(length, length);
    for (int32_t budget : {1, 2, 16, 63, 64, 65, 999, 2000, 4096, length - 1, length, length + 1}) {
      if (budget < 1) continue;
      ExpectEqualsReference(scores, budget, 0, 0);
      ExpectEqualsReference(scores, budget, 4, budget / 4);
    }
  }
}

TEST_P(SelectTokensTest, TiesGoToTheLowerPosition) {
  for (int32_t length : {50, 3000, 10000}) {
    ExpectEqualsReference(std::vector<float>(length, 0.5f), 33, 0, 0);
    ExpectEqualsReference(std::vector<float>(length, 0.0f), 33, 3, 5);
    std::vector<float> coarse(length);
    std::mt19937 random(length);
    for (float& x : coarse) x = static_cast<float>(random() % 4) - 2.0f;
    for (float& x : coarse) x = x == 0 && random() % 2 ? -0.0f : x;
    for (int32_t budget : {1, 40, length / 3, length / 2, length - 2}) {
      ExpectEqualsReference(coarse, budget, 2, 3);
    }
  }
}

TEST_P(SelectTokensTest, ForcedMembersBeyondTheBudget) {
  const std::vector<float> scores = Probabilities(300, 1);
  for (int32_t budget : {1, 2, 5, 10, 20}) {
    ExpectEqualsReference(scores, budget, 4, 8);     // sinks are cut first
    ExpectEqualsReference(scores, budget, 100, 0);   // sinks alone are too many
    ExpectEqualsReference(scores, budget, 4, 1000);  // recency reaches past the start
  }
  EXPECT_EQ(Select(scores, 1, 4, 8), std::vector<int32_t>({299}));
  EXPECT_EQ(Select(scores, 3, 4, 1), std::vector<int32_t>({0, 298, 299}));
}

TEST_P(SelectTokensTest, NanScoresRankLowestAndKeepTheCount) {
  for (int32_t length : {40, 5000}) {
    std::vector<float> scores = Probabilities(length, 2);
    for (int32_t i = 0; i < length; i += 3) scores[i] = kNan;
    for (int32_t i = 1; i < length; i += 7) scores[i] = -kInfinity;
    for (int32_t budget : {1, 20, length / 2, length * 2 / 3, length - 1}) {
      ExpectEqualsReference(scores, budget, 2, 4);
    }
    ExpectEqualsReference(std::vector<float>(length, kNan), 17, 0, 0);
  }
}

// Sorted scores defeat a sample of a part of the context.
TEST_P(SelectTokensTest, SortedAndClusteredScores) {
  std::vector<float> scores = Probabilities(9000, 3);
  std::sort(scores.begin(), scores.end());
  ExpectEqualsReference(scores, 256, 4, 64);
  std::reverse(scores.begin(), scores.end());
  ExpectEqualsReference(scores, 256, 4, 64);
  // The large ones exactly at, or exactly beside, the places a regular sample looks at.
  for (int32_t offset : {0, 1}) {
    std::vector<float> spikes(512 * 16, 1e-6f);
    for (int32_t i = 0; i < 512; ++i) spikes[i * 16 + offset] = 1.0f + i;
    for (int32_t budget : {100, 512, 513, 1000}) ExpectEqualsReference(spikes, budget, 0, 0);
  }
}

// The whole operation against the reference. Where the sets differ, every token that only one of
// them has must be a near tie with the threshold.
class SelectingDecodeTest : public DecodeKernelTest {
 protected:
  void ExpectSelectionEqualsReference(DecodeCase& c, const SelectionBuffer& actual,
                                      const SelectTokensParams& select, const std::string& what) {
    const PagedDecodeParams params = c.Params(nullptr);
    for (int32_t row = 0; row < c.rows(); ++row) {
      if (select.token_budgets[row] == 0) continue;  // a dense row, whose counts are poison
      const auto scores =
          reference::SelectionScores(params, select.selection.granularity, select.score, row);
      ASSERT_EQ(scores.size(), actual.sets());
      for (int32_t set = 0; set < actual.sets(); ++set) {
        const std::vector<int32_t> got = actual.Positions(row, set);
        const std::vector<int32_t> want = reference::SelectTokens(
            scores[set], select.token_budgets[row], select.sinks, select.recency[row]);
        ASSERT_EQ(got.size(), want.size()) << what << ", row " << row;
        ASSERT_TRUE(std::is_sorted(got.begin(), got.end()));
        ASSERT_TRUE(std::adjacent_find(got.begin(), got.end()) == got.end());
        for (size_t i = 0; i < got.size(); ++i) {
          ASSERT_EQ(actual.Slots(row, set)[i], c.Slot(row, got[i]));
        }
        std::vector<int32_t> missing, extra;
        std::set_difference(want.begin(), want.end(), got.begin(), got.end(),
                            std::back_inserter(missing));
        std::set_difference(got.begin(), got.end(), want.begin(), want.end(),
                            std::back_inserter(extra));
        for (size_t i = 0; i < missing.size(); ++i) {
          const double gap = std::abs(scores[set][missing[i]] - scores[set][extra[i]]);
          EXPECT_LE(gap, 1e-5 * std::abs(scores[set][missing[i]]))
              << what << ", row " << row << ", set " << set;
        }
      }
    }
    actual.ExpectPoisonElsewhere();
  }
};
INSTANTIATE_TEST_SUITE_P(Isa, SelectingDecodeTest, testing::Bool(), IsaName);

TEST_P(SelectingDecodeTest, EqualsReferenceForEveryGranularityAndScore) {
  const std::vector<int32_t> lens = {1, 63, 64, 65, 511, 512, 513, 1000, 3001, 30, 90};
  const std::vector<int32_t> budgets = {64, 64, 64, 64, 1, 100, 512, 64, 600, 7, 0};
  const std::vector<int32_t> recency = {16, 16, 0, 16, 5, 25, 128, 0, 150, 20, 0};
  for (const DecodeShape& shape :
       {DecodeShape{4, 2, 64, 16}, DecodeShape{3, 3, 32, 64}, DecodeShape{7, 1, 80, 32}}) {
    DecodeCase c(shape, lens, 50 + shape.head_dim);
    const std::vector<float> paged = RunPaged(c);
    for (auto granularity : {SelectionGranularity::kShared, SelectionGranularity::kKvHead}) {
      for (auto score : {SelectionScore::kSoftmaxSum, SelectionScore::kMaxLogit}) {
        const std::string what = std::to_string(static_cast<int>(granularity)) + "/" +
                                 std::to_string(static_cast<int>(score)) +
                                 " D=" + std::to_string(shape.head_dim);
        SelectionBuffer selection(shape, lens, budgets, granularity);
        const SelectTokensParams select{selection.view(), budgets.data(), recency.data(), 4, score};
        // The attention itself is PagedDecode's.
        EXPECT_EQ(RunSelecting(c, select, 2), paged) << what;
        ExpectSelectionEqualsReference(c, selection, select, what);

        SelectionBuffer again(shape, lens, budgets, granularity);
        SelectTokensParams one_thread = select;
        one_thread.selection = again.view();
        RunSelecting(c, one_thread, 1);
        EXPECT_TRUE(again == selection) << what;
      }
    }
  }
}

// One long row on several threads: its context is ranked in parts.
TEST_P(SelectingDecodeTest, PartsOfAContextGiveTheSetOfTheWhole) {
  const int32_t length = 5001;  // 10 splits, so up to 3 parts
  DecodeCase c({4, 2, 16, 16}, {length}, 90);
  for (int32_t t = 100; t < length; t += 50) {  // ties across parts
    for (int32_t kv = 0; kv < 2; ++kv) std::copy_n(c.KRow(0, 99, kv), 16, c.KRow(0, t, kv));
  }
  for (auto granularity : {SelectionGranularity::kShared, SelectionGranularity::kKvHead}) {
    for (auto score : {SelectionScore::kSoftmaxSum, SelectionScore::kMaxLogit}) {
      for (int32_t budget : {1, 300, 3000, length - 1}) {
        const int32_t recency = budget / 4;
        SelectionBuffer one(c, granularity);
        const SelectTokensParams select{one.view(), &budget, &recency, 4, score};
        RunSelecting(c, select, 1);
        ExpectSelectionEqualsReference(c, one, select, "budget " + std::to_string(budget));
        for (int num_threads : {2, 3}) {
          SelectionBuffer several(c, granularity);
          SelectTokensParams parted = select;
          parted.selection = several.view();
          RunSelecting(c, parted, num_threads);
          EXPECT_TRUE(several == one) << "budget " << budget << ", " << num_threads << " threads";
        }
      }
    }
  }
}

// With one query head a KV head, a set a KV head is a set a query head: the same as computing each
// head alone with a set shared by "all" its heads.
TEST_P(SelectingDecodeTest, PerKvHeadIsPerQueryHeadWithoutGrouping) {
  const int32_t heads = 3, dim = 64, budget = 50, recency = 10;
  DecodeCase all({heads, heads, dim, 16}, {700}, 60);
  SelectionBuffer per_head(all, SelectionGranularity::kKvHead);
  RunSelecting(all, {per_head.view(), &budget, &recency, 4, SelectionScore::kSoftmaxSum});
  for (int32_t h = 0; h < heads; ++h) {
    DecodeCase one({1, 1, dim, 16}, {700}, 61);
    const PagedDecodeParams params = one.Params(nullptr);
    std::copy_n(all.Params(nullptr).q + h * dim, dim, const_cast<bfloat16*>(params.q));
    for (int32_t t = 0; t < 700; ++t) {
      std::copy_n(all.KRow(0, t, h), dim, one.KRow(0, t, 0));
      std::copy_n(all.VRow(0, t, h), dim, one.VRow(0, t, 0));
    }
    SelectionBuffer shared(one, SelectionGranularity::kShared);
    RunSelecting(one, {shared.view(), &budget, &recency, 4, SelectionScore::kSoftmaxSum});
    EXPECT_EQ(per_head.Positions(0, h), shared.Positions(0, 0)) << "head " << h;
  }
}

TEST_P(SelectingDecodeTest, EqualScoresGoToTheLowerPosition) {
  DecodeCase c({4, 2, 64, 16}, {900}, 70);
  for (int32_t t = 0; t < 900; ++t) {
    for (int32_t kv = 0; kv < 2; ++kv) std::copy_n(c.KRow(0, 0, kv), 64, c.KRow(0, t, kv));
  }
  const int32_t budget = 40, recency = 9;
  for (auto score : {SelectionScore::kSoftmaxSum, SelectionScore::kMaxLogit}) {
    SelectionBuffer selection(c, SelectionGranularity::kShared);
    RunSelecting(c, {selection.view(), &budget, &recency, 4, score}, 2);
    std::vector<int32_t> expected;
    for (int32_t t = 0; t < 30; ++t) expected.push_back(t);
    for (int32_t t = 890; t < 900; ++t) expected.push_back(t);
    EXPECT_EQ(selection.Positions(0, 0), expected);
  }
}

TEST_P(SelectingDecodeTest, NanInKKeepsTheSetWellFormed) {
  const int32_t budget = 40, recency = 9;
  for (auto score : {SelectionScore::kSoftmaxSum, SelectionScore::kMaxLogit}) {
    DecodeCase c({4, 2, 64, 16}, {900}, 71);
    for (int32_t kv = 0; kv < 2; ++kv) *c.KRow(0, 500, kv) = ToBFloat16(kNan);
    SelectionBuffer selection(c, SelectionGranularity::kShared);
    const SelectTokensParams select{selection.view(), &budget, &recency, 4, score};
    RunSelecting(c, select);
    const std::vector<int32_t> positions = selection.Positions(0, 0);
    ASSERT_EQ(positions.size(), budget);
    EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
    // Raw scores: one bad token is one bad score. Probabilities: it spoils the whole row.
    if (score == SelectionScore::kMaxLogit) {
      EXPECT_EQ(std::count(positions.begin(), positions.end(), 500), 0);
      ExpectSelectionEqualsReference(c, selection, select, "NaN in K");
    }
  }
}

// Attention over the selection: whole rows are dense, and unselected tokens do not count.
TEST_P(SelectingDecodeTest, SparseDecodeOverTheSelection) {
  const bfloat16 nan = ToBFloat16(kNan);
  const std::vector<int32_t> budgets = {128, 128}, recency = {32, 32};
  for (auto granularity : {SelectionGranularity::kShared, SelectionGranularity::kKvHead}) {
    DecodeCase c({4, 2, 64, 16}, {100, 1500}, 80);
    SelectionBuffer selection(c, granularity);
    const std::vector<float> dense = RunSelecting(
        c, {selection.view(), budgets.data(), recency.data(), 4, SelectionScore::kSoftmaxSum});
    const std::vector<float> sparse = RunSparse(c, selection.view());
    EXPECT_TRUE(std::equal(dense.begin(), dense.begin() + 256, sparse.begin()));
    for (int32_t kv = 0; kv < 2; ++kv) {
      const std::vector<int32_t> chosen = selection.Positions(1, selection.sets() == 1 ? 0 : kv);
      for (int32_t t = 0; t < 1500; ++t) {
        if (std::binary_search(chosen.begin(), chosen.end(), t)) continue;
        std::fill_n(c.KRow(1, t, kv), 64, nan);
        std::fill_n(c.VRow(1, t, kv), 64, nan);
      }
    }
    EXPECT_EQ(RunSparse(c, selection.view()), sparse);
  }
}

}  // namespace
}  // namespace tidal
