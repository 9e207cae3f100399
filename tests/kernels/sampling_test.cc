#include "kernels/reference/sampling.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <set>
#include <vector>

#include "tests/kernels/cpu_backend_fixture.h"
#include "tests/kernels/sampling_case.h"

namespace tidal {
namespace {

class SamplingTest : public SamplingFixture {
 protected:
  // `draws` tokens by `row` after 0, 1, ... others.
  std::vector<int32_t> Draws(const std::vector<float>& logits, const SamplingRow& row,
                             int32_t draws) {
    std::vector<int32_t> tokens;
    while (std::ssize(tokens) < draws) {
      std::vector<SamplingRow> rows(std::min(draws, kMaxRows), row);
      for (SamplingRow& each : rows) {
        each.generated = static_cast<int32_t>(tokens.size() + (&each - rows.data()));
      }
      const Sampled s = Sample(logits, rows);
      tokens.insert(tokens.end(), s.tokens.begin(), s.tokens.end());
    }
    return tokens;
  }

  // Compares the frequencies of many tokens with the reference (chi-square).
  void ExpectDistribution(const std::vector<float>& logits, const SamplingRow& row) {
    const SamplingCase on_host(*host_, {row}, logits, 0);
    const std::vector<double> want = reference::SamplingDistribution(on_host.Params(), 0);
    const std::vector<int32_t> tokens = Draws(logits, row, 3000);
    std::vector<int32_t> seen(logits.size());
    for (const int32_t token : tokens) ++seen[token];
    double chi_square = 0;
    int32_t cells = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      const double expected = want[i] * static_cast<double>(tokens.size());
      if (expected == 0) {
        ASSERT_EQ(seen[i], 0) << "token " << i << " is cut off";
        continue;
      }
      if (expected < 5) continue;
      chi_square += (seen[i] - expected) * (seen[i] - expected) / expected;
      ++cells;
    }
    ASSERT_GT(cells, 0);
    // Mean cells - 1, deviation sqrt(2 (cells - 1)).
    EXPECT_LT(chi_square, cells - 1 + 5 * std::sqrt(2.0 * cells)) << cells << " cells";
  }
};
TIDAL_INSTANTIATE_FOR_EVERY_BACKEND(SamplingTest);

TEST_P(SamplingTest, GreedyTakesTheLargestTiesToTheLowerId) {
  EXPECT_EQ(Sample({1, 5, 5, 2}, {PlainRow(0)}).tokens, std::vector<int32_t>{1});
  std::vector<float> logits(1000, -3);
  logits[999] = logits[998] = 4;
  EXPECT_EQ(Sample(logits, {PlainRow(0), PlainRow(1e-6f)}).tokens,
            std::vector<int32_t>({998, 998}));
  EXPECT_EQ(Sample({-8}, {PlainRow(0)}).tokens, std::vector<int32_t>{0});
  EXPECT_EQ(Sample({-1, -0.0f, 0.0f}, {PlainRow(0)}).tokens, std::vector<int32_t>{1});
  // So many tokens that several blocks of a GPU work on a row.
  std::vector<float> wide(128256, 0.5f);
  wide[128255] = wide[70001] = wide[70000] = 3;
  EXPECT_EQ(Sample(wide, {PlainRow(0)}).tokens, std::vector<int32_t>{70000});
}

TEST_P(SamplingTest, DrawsFollowTheDistribution) {
  ExpectDistribution(RandomFloats(50, 1), PlainRow(1));
  ExpectDistribution(RandomFloats(50, 2, 3), PlainRow(0.5f));
  ExpectDistribution(RandomFloats(17, 3, 3), PlainRow(2));
  ExpectDistribution(std::vector<float>(16, 0.0f), PlainRow(1));
}

TEST_P(SamplingTest, TruncatedDrawsFollowTheDistribution) {
  const auto logits = RandomFloats(90, 4, 2);
  for (const int32_t top_k : {0, 7, 1000}) {
    for (const float top_p : {1.0f, 0.9f, 0.3f}) {
      for (const float min_p : {0.0f, 0.05f}) {
        SamplingRow row = PlainRow(0.8f);
        row.settings.top_k = top_k;
        row.settings.top_p = top_p;
        row.settings.min_p = min_p;
        SCOPED_TRACE(testing::Message() << top_k << " " << top_p << " " << min_p);
        ExpectDistribution(logits, row);
      }
    }
  }
}

TEST_P(SamplingTest, TheTightestTruncationsAreGreedy) {
  for (const int32_t vocab : {90, 50000}) {
    const auto logits = RandomFloats(vocab, 4, 2);
    const float best = *std::max_element(logits.begin(), logits.end());
    std::vector<SamplingRow> rows(3 * 20, PlainRow(2));
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].settings.seed = i;
      if (i % 3 == 0) rows[i].settings.top_k = 1;
      if (i % 3 == 1) rows[i].settings.top_p = 1e-7f;
      if (i % 3 == 2) rows[i].settings.min_p = 1;
    }
    for (const int32_t token : Sample(logits, rows).tokens) EXPECT_EQ(logits[token], best);
  }
}

TEST_P(SamplingTest, TopKTiesGoToTheLowerIds) {
  SamplingRow row = PlainRow(1);
  row.settings.top_k = 3;
  for (const int32_t vocab : {40, 30000}) {
    const auto draws = Draws(std::vector<float>(vocab, 1.5f), row, 100);
    EXPECT_EQ(std::set<int32_t>(draws.begin(), draws.end()), std::set<int32_t>({0, 1, 2}));
  }
}

TEST_P(SamplingTest, TopPOfManyEqualTokensKeepsTheirShare) {
  SamplingRow row = PlainRow(1);
  row.settings.top_p = 0.5f;
  const auto draws = Draws(std::vector<float>(400, 0.0f), row, 10000);
  const std::set<int32_t> seen(draws.begin(), draws.end());
  EXPECT_EQ(seen.size(), 200u);
  EXPECT_EQ(*seen.rbegin(), 199);
  // More ties than a list of the GPU's holds.
  for (const int32_t token : Draws(std::vector<float>(20000, 0.0f), row, 100)) {
    EXPECT_LT(token, 10000);
  }
}

TEST_P(SamplingTest, BiasAndPenaltiesShapeTheDistribution) {
  const auto logits = RandomFloats(40, 5, 2);
  SamplingRow row = PlainRow(0.9f);
  row.biases = {{3, 2.5f}, {4, -1}, {5, -kInf}, {6, 100}, {6, -99}};
  row.counts = {{1, {1}}, {2, {5}}, {3, {2}}, {20, kInPrompt}, {21, TokenCount{3}.AfterPrompt()}};
  row.settings.repetition_penalty = 1.3f;
  row.settings.presence_penalty = 0.4f;
  row.settings.frequency_penalty = 0.25f;
  ExpectDistribution(logits, row);
  row.settings.top_k = 10;
  row.settings.top_p = 0.8f;
  ExpectDistribution(logits, row);
}

TEST_P(SamplingTest, EachRowHasItsOwnSettings) {
  SamplingRow first = PlainRow(0), second = PlainRow(0);
  first.biases = {{0, 50}};
  second.biases = {{7, 50}};
  EXPECT_EQ(Sample({0, 0, 9, 0, 0, 0, 0, 0}, {first, second, PlainRow(0)}).tokens,
            std::vector<int32_t>({0, 7, 2}));
}

TEST_P(SamplingTest, ADrawIsAFunctionOfSeedAndTokensGenerated) {
  const auto logits = RandomFloats(40000, 6);
  std::vector<SamplingRow> rows(64, PlainRow(1));
  for (int32_t i = 0; i < std::ssize(rows); ++i) {
    rows[i].settings.seed = i / 8;
    rows[i].generated = i % 8;
    if (i % 2 == 0) rows[i].settings.top_p = 0.9f;
  }
  const std::vector<int32_t> tokens = Sample(logits, rows).tokens;
  for (size_t i = 0; i < rows.size(); i += 5) {
    EXPECT_EQ(Sample(logits, {rows[i]}).tokens[0], tokens[i]);  // alone as in the batch
  }
  EXPECT_GT(std::set<int32_t>(tokens.begin(), tokens.end()).size(), 40u);
}

TEST_P(SamplingTest, LogprobsAreThoseOfTheRawLogits) {
  const auto logits = RandomFloats(100, 7, 3);
  SamplingRow row = PlainRow(1.7f);
  row.biases = {{11, 1000}};
  row.counts = {{11, {2}}};
  row.settings.frequency_penalty = 1;
  row.settings.num_logprobs = 5;
  const SamplingCase on_host(*host_, {row}, logits, 0);
  const std::vector<double> want = reference::LogProbabilities(on_host.Params(), 0);
  const Sampled s = Sample(logits, {row, PlainRow(0)}, 8);
  EXPECT_EQ(s.tokens[0], 11);
  EXPECT_NEAR(s.logprobs[0], want[11], 1e-5);
  EXPECT_NEAR(s.logprobs[1], *std::max_element(want.begin(), want.end()), 1e-5);
  std::vector<int32_t> order(100);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return want[a] > want[b]; });
  for (int32_t i = 0; i < 5; ++i) {
    EXPECT_EQ(s.top_ids[i], order[i]);
    EXPECT_NEAR(s.top_logprobs[i], want[order[i]], 1e-5);
  }
  for (int32_t i = 5; i < 16; ++i) {
    EXPECT_EQ(s.top_ids[i], -1);
    EXPECT_EQ(s.top_logprobs[i], -kInf);
  }
}

TEST_P(SamplingTest, TopLogprobTiesAndShortRows) {
  SamplingRow row = PlainRow(0);
  row.settings.num_logprobs = 4;
  EXPECT_EQ(Sample({2, 7, 2, 7, 2, 1}, {row}, 4).top_ids, std::vector<int32_t>({1, 3, 0, 2}));
  // More ties than a list of the GPU's holds.
  EXPECT_EQ(Sample(std::vector<float>(30000, -2), {row}, 4).top_ids,
            std::vector<int32_t>({0, 1, 2, 3}));
  row.settings.num_logprobs = 5;
  EXPECT_EQ(Sample({1, 2}, {row}, 5).top_ids, std::vector<int32_t>({1, 0, -1, -1, -1}));
}

TEST_P(SamplingTest, ABannedTokenIsNeverDrawn) {
  SamplingRow row = PlainRow(1);
  row.biases = {{1, -kInf}};
  for (const int32_t token : Draws({0, 20, 0}, row, kMaxRows)) EXPECT_NE(token, 1);
}

TEST_P(SamplingTest, BansEndAfterTheFirstMinTokens) {
  SamplingRow row = PlainRow(0);
  row.settings.min_tokens = 3;
  row.biases = {{0, 5}};  // beside the bans, and on a banned token
  row.bans = {2, 0};
  std::vector<SamplingRow> rows(5, row);
  for (int32_t i = 0; i < 5; ++i) rows[i].generated = i;
  EXPECT_EQ(Sample({4, 7, 8, 0}, rows).tokens, std::vector<int32_t>({1, 1, 1, 0, 0}));
}

TEST_P(SamplingTest, AMaskLeavesOnlyWhatItAllows) {
  const auto logits = RandomFloats(100, 6, 2);
  SamplingRow row = PlainRow(0.9f);
  row.allowed = {0, 3, 31, 32, 64, 77, 99};
  ExpectDistribution(logits, row);
  for (const int32_t top_k : {4, 7, 50}) {  // fewer and more than are allowed
    row.settings.top_k = top_k;
    ExpectDistribution(logits, row);
  }
  row.settings.top_k = 0;
  row.settings.min_p = 0.2f;
  ExpectDistribution(logits, row);
  row.settings.min_p = 0;
  row.settings.top_p = 0.7f;
  ExpectDistribution(logits, row);
  row.biases = {{3, 4}, {4, 50}};
  row.counts = {{77, {2}}};
  row.settings.frequency_penalty = 0.5f;
  ExpectDistribution(logits, row);
}

TEST_P(SamplingTest, RowsWithAndWithoutMasksOfManySizes) {
  for (const int32_t vocab : {1, 5, 31, 32, 33, 100, 16385, 128256, 151937}) {
    SCOPED_TRACE(vocab);
    const auto logits = RandomFloats(vocab, 7, 2);
    SamplingRow last = PlainRow(0), drawn = PlainRow(1), all = PlainRow(0), some = PlainRow(0);
    last.allowed = drawn.allowed = {vocab - 1};
    all.allowed.emplace(vocab);
    std::iota(all.allowed->begin(), all.allowed->end(), 0);
    some.allowed = {vocab / 2, vocab / 3};
    const Sampled s = Sample(logits, {last, PlainRow(0), drawn, all, some, PlainRow(0)});
    const auto best = std::max_element(logits.begin(), logits.end());
    const auto best_id = static_cast<int32_t>(best - logits.begin());
    const int32_t best_of_two = logits[vocab / 2] > logits[vocab / 3] ? vocab / 2 : vocab / 3;
    EXPECT_EQ(s.tokens,
              std::vector<int32_t>({vocab - 1, best_id, vocab - 1, best_id, best_of_two, best_id}));
    // Those of the raw logits, of all tokens.
    EXPECT_EQ(s.logprobs[0], s.logprobs[2]);
    EXPECT_EQ(s.logprobs[1], s.logprobs[3]);
    EXPECT_LE(s.logprobs[0], s.logprobs[1]);
  }
}

// A model may say -infinity for all that its mask allows, and no token may be another one.
TEST_P(SamplingTest, AMaskHoldsWhereNoAllowedLogitIsFinite) {
  std::vector<float> logits(40000, 1);
  logits[35] = logits[39000] = -kInf;
  SamplingRow greedy = PlainRow(0), drawn = PlainRow(1);
  greedy.allowed = drawn.allowed = {35, 39000};
  EXPECT_EQ(Sample(logits, {greedy, drawn, PlainRow(0)}).tokens, std::vector<int32_t>({35, 35, 0}));
}

// Their log probabilities say that they are worth nothing; the tokens are allowed ones all the
// same.
TEST_P(SamplingTest, AMaskHoldsInCorruptRows) {
  const std::vector<float> good = RandomFloats(40000, 8, 2);
  for (const float bad : {std::nanf(""), kInf}) {
    for (const int32_t at : {35, 20000}) {  // a token that is allowed, one that is not
      std::vector<float> logits = good;
      logits[at] = bad;
      SamplingRow greedy = PlainRow(0), drawn = PlainRow(1);
      greedy.allowed = drawn.allowed = {35, 39000};
      const Sampled s = Sample(logits, {greedy, drawn});
      for (int row = 0; row < 2; ++row) {
        EXPECT_TRUE(s.tokens[row] == 35 || s.tokens[row] == 39000) << s.tokens[row];
        EXPECT_TRUE(std::isnan(s.logprobs[row]));
      }
    }
  }
}

// Without the host: each call counts what it sampled.
TEST_P(SamplingTest, ASampledTokenCountsInTheNextCall) {
  SamplingRow frequency = PlainRow(0), presence = PlainRow(0), repetition = PlainRow(0);
  frequency.settings.frequency_penalty = 0.4f;
  presence.settings.presence_penalty = 1.5f;
  repetition.settings.repetition_penalty = 4;
  const std::vector<float> logits = {0.4f, 2, 1, -1};
  std::vector<float> all;
  for (int i = 0; i < 4; ++i) all.insert(all.end(), logits.begin(), logits.end());
  SamplingCase c(*backend_, {frequency, PlainRow(0), presence, repetition}, all, 0);
  const std::vector<std::vector<int32_t>> expected = {{1, 1, 1, 1}, {1, 1, 2, 2}, {1, 1, 1, 1},
                                                      {2, 1, 1, 1}, {1, 1, 1, 1}, {2, 1, 1, 1}};
  for (const std::vector<int32_t>& tokens : expected) EXPECT_EQ(c.Sample().tokens, tokens);
}

// A row of a draft is sampled as if the tokens before it had been; what the slot takes over, the
// case checks.
TEST_P(SamplingTest, ADraftCountsForTheRowsAfterIt) {
  SamplingRow row = PlainRow(0);
  row.settings.frequency_penalty = 0.4f;
  row.settings.presence_penalty = 0.1f;
  row.counts = {{3, kInPrompt}, {5, {2}}};
  const std::vector<float> logits = {0.4f, 2, 1.85f, -1, 1.65f, 3.1f, 0, 0.5f};
  const auto alone = [&](std::vector<int32_t> before) {
    SamplingRow counted = row;
    counted.generated = static_cast<int32_t>(before.size());
    for (int32_t token : before) {
      auto& counts = counted.counts;
      auto at = std::find_if(counts.begin(), counts.end(),
                             [&](const CountedToken& c) { return c.token == token; });
      if (at == counts.end()) at = counts.insert(at, {token, {}});
      at->count = at->count.AfterOutput();
    }
    return Sample(logits, {counted}).tokens[0];
  };
  // All right; right, then wrong; wrong at once; of one token.
  const std::vector<int32_t> text = {alone({}), alone({5}), alone({5, 1}), alone({5, 1, 2})};
  EXPECT_EQ(text, std::vector<int32_t>({5, 1, 2, 5})) << "the case is worth the name";
  for (const std::vector<int32_t>& draft :
       std::vector<std::vector<int32_t>>({{5, 1, 2}, {5, 1, 0}, {5, 7, 1}, {0, 5, 5}, {5}, {0}})) {
    const auto size = static_cast<int32_t>(draft.size());
    std::vector<SamplingRow> rows(size + 3, row);  // others before and behind
    std::vector<float> all;
    for (int32_t i = 0; i < size + 3; ++i) {
      rows[i].generated = i > 0 && i <= size + 1 ? i - 1 : 0;
      all.insert(all.end(), logits.begin(), logits.end());
    }
    SamplingCase c(*backend_, rows, all, 2, {{1, draft}});
    std::vector<int32_t> expected = {5};
    for (int32_t i = 0; i <= size; ++i) {
      expected.push_back(alone({draft.begin(), draft.begin() + i}));
    }
    expected.push_back(5);
    EXPECT_EQ(c.Sample().tokens, expected);
  }
}

TEST_P(SamplingTest, ManyDraftsOfManySizes) {
  constexpr int32_t kVocab = 50257;
  std::vector<SamplingRow> rows;
  std::vector<DraftOf> drafts;
  for (int32_t size = 0; size < 16; ++size) {
    SamplingRow row = PlainRow(size % 3 == 0 ? 0.0f : 1.0f);
    row.settings.seed = size;
    row.settings.repetition_penalty = size % 2 == 0 ? 1.3f : 1.0f;
    if (size > 0) drafts.push_back({static_cast<int32_t>(rows.size()), {}});
    for (int32_t i = 0; i <= size; ++i) {
      row.generated = i;
      rows.push_back(row);
    }
  }
  std::vector<float> logits(rows.size() * kVocab);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 7919 % 10007) / 999;
  // The drafts are what was sampled without any: without penalties all right, but some are changed.
  std::vector<SamplingRow> free_rows = rows;
  for (SamplingRow& row : free_rows) row.settings.repetition_penalty = 1;
  const std::vector<int32_t> tokens = SamplingCase(*backend_, free_rows, logits, 0).Sample().tokens;
  for (DraftOf& draft : drafts) {
    const auto size = &draft - drafts.data() + 1;
    for (int32_t i = 0; i < size; ++i) draft.tokens.push_back(tokens[draft.first + i]);
    if (size % 4 == 3) draft.tokens[size / 2] = 0;
  }
  SamplingCase c(*backend_, rows, logits, 0, drafts);
  const Sampled sampled = c.Sample();
  for (const DraftOf& draft : drafts) {
    if (rows[draft.first].settings.has_penalties()) continue;
    for (size_t i = 0; i <= draft.tokens.size(); ++i) {
      EXPECT_EQ(sampled.tokens[draft.first + i], tokens[draft.first + i]);
    }
  }
}

// The counts of a slot may be what its former owner left, as the case has them.
TEST_P(SamplingTest, RowsWithoutPenaltiesHaveNoCounts) {
  SamplingRow row = PlainRow(0);
  row.biases = {{1, 1}};
  SamplingCase c(*backend_, {row, PlainRow(0)}, {0, 1.5f, 2, 0, 1.5f, 2}, 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(c.Sample().tokens, std::vector<int32_t>({1, 2}));
}

// Counts of one slot of several.
class CountTokensTest : public BackendFixture {
 protected:
  static constexpr TokenCount kFormer = {0xffff};

  std::vector<uint16_t> Count(const std::vector<int32_t>& tokens, int32_t num_prompt_tokens,
                              int32_t vocab) {
    const DeviceArray<int32_t> device_tokens(*backend_, tokens);
    const DeviceArray<TokenCount> counts(*backend_, std::vector<TokenCount>(3 * vocab, kFormer));
    backend_->CountTokens({.tokens = device_tokens.get(),
                           .num_tokens = static_cast<int32_t>(tokens.size()),
                           .num_prompt_tokens = num_prompt_tokens,
                           .counts = counts.get() + vocab,
                           .vocab = vocab});
    std::vector<uint16_t> bits;
    for (const TokenCount count : counts.Read()) bits.push_back(count.bits);
    for (int32_t id = 0; id < vocab; ++id) {  // of other slots
      EXPECT_EQ(bits[id], kFormer.bits);
      EXPECT_EQ(bits[2 * vocab + id], kFormer.bits);
    }
    return {bits.begin() + vocab, bits.end() - vocab};
  }
};
TIDAL_INSTANTIATE_FOR_EVERY_BACKEND(CountTokensTest);

TEST_P(CountTokensTest, OfPromptAndOutputReplaceTheFormerOnes) {
  constexpr uint16_t kPrompt = TokenCount::kInPrompt;
  EXPECT_EQ(Count({3, 0, 3, 6, 0, 4, 4, 4}, 4, 7),
            std::vector<uint16_t>({kPrompt | 1, 0, 0, kPrompt, 3, 0, kPrompt}));
  EXPECT_EQ(Count({2, 2}, 2, 3), std::vector<uint16_t>({0, 0, kPrompt}));
  EXPECT_EQ(Count({2, 2}, 0, 3), std::vector<uint16_t>({0, 0, 2}));
  EXPECT_EQ(Count({}, 0, 5), std::vector<uint16_t>(5));
}

TEST_P(CountTokensTest, OfManyTokens) {
  constexpr int32_t kVocab = 50257, kTokens = 100000, kPromptTokens = 60000;
  std::vector<int32_t> tokens;
  std::vector<TokenCount> expected(kVocab);
  for (int32_t i = 0; i < kTokens; ++i) {
    // Every third is token 7.
    tokens.push_back(i % 3 == 0 ? 7 : static_cast<int32_t>(i * int64_t{7919} % kVocab));
    TokenCount& count = expected[tokens.back()];
    count = i < kPromptTokens ? count.AfterPrompt() : count.AfterOutput();
  }
  const std::vector<uint16_t> bits = Count(tokens, kPromptTokens, kVocab);
  EXPECT_TRUE(std::ranges::equal(bits, expected, {}, {}, &TokenCount::bits));
}

TEST_P(CountTokensTest, EndAtTheLargest) {
  const int32_t most = TokenCount::kMaxOutputs;
  EXPECT_EQ(Count(std::vector<int32_t>(most - 1, 1), 0, 2)[1], most - 1);
  EXPECT_EQ(Count(std::vector<int32_t>(most + 100, 1), 0, 2)[1], most);
  EXPECT_EQ(Count(std::vector<int32_t>(most + 101, 1), 1, 2)[1], most | TokenCount::kInPrompt);
}

}  // namespace
}  // namespace tidal
