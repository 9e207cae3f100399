// How decode attention cuts rows and deals the splits out, which is arithmetic: no device needed.
#include "kernels/cuda/attention/decode_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace tidal::cuda::decode {
namespace {

constexpr SplitRule kH200{264, 8};

struct Batch {
  std::vector<int32_t> lens;
  std::vector<bool> scored;  // empty: the list keeps no logits
};

// What the kernel in decode_plan.cu does with all these, for one list.
class HostPlan {
 public:
  HostPlan(const SplitRule& rule, const Batch& batch) : rule_(rule), batch_(batch) {
    const int64_t tokens = std::accumulate(batch.lens.begin(), batch.lens.end(), int64_t{0});
    if (!scoring()) lengths_ = rule.Tails(tokens);
    rows_.resize(batch.lens.size());
    std::iota(rows_.begin(), rows_.end(), 0);
    std::stable_sort(rows_.begin(), rows_.end(),
                     [&](int32_t a, int32_t b) { return batch.lens[a] > batch.lens[b]; });
    const int32_t most = ChooseMost();
    cuts_.resize(rows_.size());
    for (int32_t row : rows_) cuts_[row] = rule.Cut(batch.lens[row], LengthsOf(row, most));
    SplitCounts all;
    for (const RowCut& cut : cuts_) all.Add(cut);
    items_.resize(all.Sum() * rule.num_kv_heads);
    SplitCounts before;
    for (int32_t row : rows_) {
      const int32_t first = before.Sum() * rule.num_kv_heads;
      for (int32_t n = 0; n < cuts_[row].num_splits * rule.num_kv_heads; ++n) {
        const PlacedItem placed = PlaceItem(cuts_[row], before, all, rule.num_kv_heads, n);
        DecodeItem& item = items_.at(placed.index);
        EXPECT_EQ(item.tokens(), 0) << "two items at one place";
        item = DecodeItem::Make(row, 0, placed.kv_head, first + n, placed.begin, placed.tokens,
                                false, cuts_[row].num_splits);
      }
      before.Add(cuts_[row]);
    }
  }

  const std::vector<DecodeItem>& items() const { return items_; }
  const RowCut& cut(int32_t row) const { return cuts_[row]; }
  int64_t MaxItems() const {
    int64_t scored_tokens = 0;
    for (size_t row = 0; row < batch_.scored.size(); ++row) {
      if (batch_.scored[row]) scored_tokens += batch_.lens[row];
    }
    return rule_.MaxItems(batch_.lens.size(),
                          *std::max_element(batch_.lens.begin(), batch_.lens.end()), scored_tokens);
  }

 private:
  bool scoring() const { return !batch_.scored.empty(); }
  SplitLengths LengthsOf(int32_t row, int32_t most) const {
    SplitLengths lengths = lengths_.OfRow(row, batch_.lens[row]);
    lengths.most = scoring() && batch_.scored[row] ? std::min(most, kMaxScoredSplitTokens) : most;
    return lengths;
  }
  int32_t ChooseMost() const {
    int64_t tokens = 0, share_tokens = 0;
    for (int32_t row : rows_) {
      tokens += rule_.LongTokens(batch_.lens[row], LengthsOf(row, 0));
      share_tokens += rule_.ShareTokens(batch_.lens[row], LengthsOf(row, 0));
    }
    int32_t best = 0;
    int64_t best_cost = INT64_MAX;
    for (int32_t rounds = 1; rounds <= SplitRule::kMaxRounds; rounds *= 2) {
      const int32_t share = rule_.Share(share_tokens, rounds);
      int64_t splits = 0;
      for (int32_t row : rows_) {
        splits += rule_.Cut(batch_.lens[row], LengthsOf(row, share)).runs[0].splits;
      }
      const int64_t cost = rule_.Cost(tokens, splits);
      if (cost < best_cost) {
        best_cost = cost;
        best = share;
      }
    }
    return best;
  }

  const SplitRule rule_;
  const Batch batch_;
  SplitLengths lengths_;       // but `most`
  std::vector<int32_t> rows_;  // in the order of the list
  std::vector<RowCut> cuts_;   // by row
  std::vector<DecodeItem> items_;
};

// Every token of every row and KV head is in one item; a row's results lie together, in order.
void ExpectComplete(const SplitRule& rule, const Batch& batch, const std::string& what) {
  const HostPlan plan(rule, batch);
  ASSERT_LE(static_cast<int64_t>(plan.items().size()), plan.MaxItems()) << what;
  std::vector<DecodeItem> by_result(plan.items().size());
  for (const DecodeItem& item : plan.items()) {
    ASSERT_GT(item.tokens(), 0) << what;
    ASSERT_EQ(item.begin() % 16, 0) << what;
    ASSERT_EQ(by_result.at(item.result()).tokens(), 0) << what << ": a result of two items";
    by_result[item.result()] = item;
  }
  std::vector<bool> seen(batch.lens.size());
  for (size_t at = 0; at < by_result.size();) {
    const int32_t row = by_result[at].row();
    ASSERT_FALSE(seen[row]) << what;
    seen[row] = true;
    std::vector<int32_t> reached(rule.num_kv_heads);
    const int32_t splits = by_result[at].num_splits();
    for (int32_t i = 0; i < splits * rule.num_kv_heads; ++i, ++at) {
      const DecodeItem& item = by_result.at(at);
      ASSERT_EQ(item.row(), row) << what;
      ASSERT_EQ(item.num_splits(), splits) << what;
      ASSERT_EQ(item.kv_head(), i % rule.num_kv_heads) << what;
      ASSERT_EQ(item.begin(), reached[item.kv_head()]) << what << ", row " << row;
      reached[item.kv_head()] += item.tokens();
    }
    for (int32_t tokens : reached) ASSERT_EQ(tokens, batch.lens[row]) << what;
  }
  for (size_t row = 0; row < seen.size(); ++row) {
    ASSERT_EQ(seen[row], batch.lens[row] > 0) << what << ", row " << row;
  }
}

TEST(DecodePlanTest, EveryTokenIsInOneItem) {
  std::mt19937 random(1);
  const auto draw = [&](int32_t least, int32_t most) {
    return std::uniform_int_distribution<int32_t>(least, most)(random);
  };
  for (int trial = 0; trial < 3000; ++trial) {
    const int32_t blocks_of[] = {2, 13, 132, 264, 264};
    const int32_t heads_of[] = {1, 2, 7, 8, 8, 40};
    const SplitRule rule{blocks_of[draw(0, 4)], heads_of[draw(0, 5)]};
    Batch batch;
    batch.lens.resize(draw(1, trial % 10 == 0 ? 300 : 20));
    const int32_t kind = draw(0, 3);  // alike, one long and the others short, log-uniform, uniform
    const int32_t longest = 1 << draw(0, 20);
    for (size_t row = 0; row < batch.lens.size(); ++row) {
      batch.lens[row] = kind == 0   ? longest
                        : kind == 1 ? (row == 3 ? longest : draw(0, 70))
                        : kind == 2 ? draw(0, 1 << draw(0, 20))
                                    : draw(0, longest);
    }
    const std::string what = "trial " + std::to_string(trial);
    ExpectComplete(rule, batch, what);
    const bool all_scored = draw(0, 1) == 1;
    for (size_t row = 0; row < batch.lens.size(); ++row) {
      batch.scored.push_back(all_scored || draw(0, 1) == 1);
    }
    ExpectComplete(rule, batch, what + ", scored");
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(DecodePlanTest, SmallLoadsHaveNoTail) {
  for (const auto& [rows, tokens] :
       {std::pair{1, 4096}, {8, 4096}, {1, 32768}, {3, 32768}, {1, 131072}, {32, 4096}}) {
    const HostPlan plan(kH200, {std::vector<int32_t>(rows, tokens), {}});
    for (int32_t row = 0; row < rows; ++row) {
      EXPECT_EQ(plan.cut(row).num_splits, plan.cut(row).runs[0].splits) << rows << " x " << tokens;
    }
  }
}

TEST(DecodePlanTest, LargeLoadsEndInATail) {
  for (const auto& [rows, tokens] :
       {std::pair{8, 32768}, {8, 131072}, {5, 50001}, {32, 32768}, {32, 131072}}) {
    const HostPlan plan(kH200, {std::vector<int32_t>(rows, tokens), {}});
    const std::string what = std::to_string(rows) + " x " + std::to_string(tokens);
    const int64_t load = int64_t{rows} * tokens * kH200.num_kv_heads / kH200.blocks;
    // In the list: long items, then short ones, about six of 32 tokens.
    const std::vector<DecodeItem>& items = plan.items();
    const auto tail = std::find_if(items.begin(), items.end(), [&](const DecodeItem& item) {
      return item.tokens() <= std::max<int64_t>(load / 16, 256);
    });
    int64_t tail_tokens = 0;
    for (auto item = tail; item != items.end(); ++item) {
      EXPECT_LE(item->tokens(), std::max<int64_t>(load / 16, 256)) << what;
      tail_tokens += item->tokens();
    }
    const double share = double(tail_tokens) / (double(rows) * tokens * kH200.num_kv_heads);
    EXPECT_GT(share, 0.17) << what;
    EXPECT_LT(share, 0.2) << what;
    // A block's long items alone keep no block busy for longer than its share of the load.
    const int64_t long_items = tail - items.begin();
    const int64_t rounds = (long_items + kH200.blocks - 1) / kH200.blocks;
    EXPECT_LE(rounds * items.front().tokens(), std::max<int64_t>(load, tokens)) << what;
  }
}

// Rows of less than a block's load: an eighth of them are the tail.
TEST(DecodePlanTest, OfShortRowsEveryEighthIsTheTail) {
  for (const auto& [rows, tokens] : {std::pair{40, 4096}, {300, 4096}, {64, 8192}, {40, 9000}}) {
    const HostPlan plan(kH200, {std::vector<int32_t>(rows, tokens), {}});
    const int64_t load = int64_t{rows} * tokens * kH200.num_kv_heads / kH200.blocks;
    for (int32_t row = 0; row < rows; ++row) {
      const RowCut& cut = plan.cut(row);
      const std::string what = std::to_string(rows) + " x " + std::to_string(tokens);
      ASSERT_EQ(cut.runs[1].splits > 0, row % 8 == 7) << what << ", row " << row;
      EXPECT_LE(cut.runs[1].tokens, std::max<int64_t>(load / 64 + 16, 192)) << what;
      if (row % 8 == 7) {
        EXPECT_LT(cut.runs[0].end, tokens / 10) << what;
      }
    }
  }
}

// A long row among short ones is cut; the short ones are not.
TEST(DecodePlanTest, ShortRowsOfALargeLoadStayWhole) {
  Batch batch;
  batch.lens.assign(200, 90);
  batch.lens[77] = 200'000;
  const HostPlan plan(kH200, batch);
  for (int32_t row = 0; row < 200; ++row) {
    if (row == 77) {
      EXPECT_GT(plan.cut(row).num_splits, plan.cut(row).runs[0].splits);
    } else {
      EXPECT_EQ(plan.cut(row).num_splits, 1);
    }
  }
}

TEST(DecodePlanTest, ScoredRowsHaveNoTail) {
  const HostPlan plan(kH200, {std::vector<int32_t>(8, 131072), std::vector<bool>(8, true)});
  for (int32_t row = 0; row < 8; ++row) {
    const RowCut& cut = plan.cut(row);
    EXPECT_LE(cut.runs[0].tokens, kMaxScoredSplitTokens);
    EXPECT_EQ(cut.num_splits, cut.runs[0].splits);
  }
}

TEST(DecodePlanTest, ItemsKeepWhatTheyAreMadeOf) {
  for (bool sparse : {false, true}) {
    DecodeItem item = DecodeItem::Make(DecodeItem::kMaxRows - 1, DecodeItem::kMaxRows - 2,
                                       DecodeItem::kMaxKvHeads - 1, DecodeItem::kMaxResults - 1,
                                       1 << 30, kMaxSplitTokens, sparse, DecodeItem::kMaxSplits);
    item.Hide(15);
    EXPECT_FALSE(item.ends_row());
    if (sparse) item.MarkEnd();
    EXPECT_EQ(item.row(), DecodeItem::kMaxRows - 1);
    EXPECT_EQ(item.sequence_slot(), DecodeItem::kMaxRows - 2);
    EXPECT_EQ(item.kv_head(), DecodeItem::kMaxKvHeads - 1);
    EXPECT_EQ(item.result(), DecodeItem::kMaxResults - 1);
    EXPECT_EQ(item.begin(), 1 << 30);
    EXPECT_EQ(item.hidden(), 15);
    EXPECT_EQ(item.tokens(), kMaxSplitTokens);
    EXPECT_EQ(item.sparse(), sparse);
    EXPECT_EQ(item.num_splits(), DecodeItem::kMaxSplits);
    EXPECT_EQ(item.ends_row(), sparse);
  }
}

// Blocks draw in any order: every item is dealt once, and the counter is zero afterwards.
TEST(DecodePlanTest, EveryItemIsDealtOnce) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 2000; ++trial) {
    const int32_t blocks = 1 + static_cast<int32_t>(random() % 20);
    const Deal deal{static_cast<int32_t>(random() % 120), blocks};
    std::vector<int> dealt(deal.items);
    std::vector<int32_t> numbers(blocks), working(blocks);
    std::iota(working.begin(), working.end(), 0);
    int32_t counter = 0, resets = 0, draws = 0;
    while (!working.empty()) {
      const size_t at = random() % working.size();
      const int32_t block = working[at];
      const int32_t number = numbers[block]++;
      int32_t index = deal.items;
      if (!deal.HasNone(block, number)) {
        if (number < Deal::kFixed) {
          index = deal.FixedIndex(block, number);
        } else {
          const int32_t drawn = counter++;
          ++draws;
          index = deal.DrawnIndex(drawn);
          if (deal.IsLastDraw(drawn)) {
            counter = 0;
            ++resets;
          }
        }
      }
      if (index < deal.items) {
        ++dealt[index];
      } else {
        working.erase(working.begin() + at);
      }
    }
    const std::string what =
        std::to_string(deal.items) + " items, " + std::to_string(blocks) + " blocks";
    ASSERT_EQ(std::count(dealt.begin(), dealt.end(), 1), deal.items) << what;
    ASSERT_EQ(counter, 0) << what;
    ASSERT_EQ(resets, draws > 0 ? 1 : 0) << what;
  }
}

}  // namespace
}  // namespace tidal::cuda::decode
