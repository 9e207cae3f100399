#include "kernels/cpu/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "kernels/reference/sampling.h"
#include "tests/kernels/cpu_backend_fixture.h"

namespace tidal {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

SamplingRow PlainRow(float temperature) {
  return {.temperature = temperature,
          .top_k = 0,
          .top_p = 1,
          .min_p = 0,
          .repetition_penalty = 1,
          .presence_penalty = 0,
          .frequency_penalty = 0,
          .seed = 0,
          .counter = 0,
          .num_logprobs = 0,
          .penalty_begin = 0,
          .penalty_end = 0,
          .bias_begin = 0,
          .bias_end = 0};
}

struct Sampled {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<int32_t> top_ids;
  std::vector<float> top_logprobs;
};

class SamplingTest : public CpuBackendFixture {
 protected:
  // Each row of `rows` samples from `logits`.
  SamplingParamsView View(const std::vector<float>& logits, const std::vector<SamplingRow>& rows,
                          int32_t max_logprobs) {
    all_logits_.clear();
    for (size_t i = 0; i < rows.size(); ++i) {
      all_logits_.insert(all_logits_.end(), logits.begin(), logits.end());
    }
    const size_t tops = rows.size() * max_logprobs;
    result_ = {std::vector<int32_t>(rows.size(), -5), std::vector<float>(rows.size(), -5),
               std::vector<int32_t>(tops, -5), std::vector<float>(tops, -5)};
    return {.logits = all_logits_.data(),
            .rows = rows.data(),
            .penalties = penalties_.data(),
            .biases = biases_.data(),
            .token_ids = result_.tokens.data(),
            .logprobs = result_.logprobs.data(),
            .top_ids = result_.top_ids.data(),
            .top_logprobs = result_.top_logprobs.data(),
            .num_rows = static_cast<int32_t>(rows.size()),
            .vocab = static_cast<int32_t>(logits.size()),
            .max_logprobs = max_logprobs};
  }
  const Sampled& Sample(const std::vector<float>& logits, const std::vector<SamplingRow>& rows,
                        int32_t max_logprobs = 0) {
    backend_->Sample(View(logits, rows, max_logprobs));
    return result_;
  }

  // Draws many tokens by `row` and compares their frequencies with the reference (chi-square).
  void ExpectDistribution(const std::vector<float>& logits, SamplingRow row) {
    constexpr int32_t kDraws = 3000;
    std::vector<SamplingRow> rows(kDraws, row);
    for (int32_t i = 0; i < kDraws; ++i) rows[i].counter = i;
    const auto want = reference::SamplingDistribution(View(logits, {row}, 0), 0);
    std::vector<int32_t> seen(logits.size());
    for (const int32_t token : Sample(logits, rows).tokens) ++seen[token];
    double chi_square = 0;
    int32_t cells = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      const double expected = want[i] * kDraws;
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

  std::vector<float> all_logits_;
  std::vector<TokenOccurrence> penalties_;
  std::vector<TokenBias> biases_;
  Sampled result_;
};
TIDAL_INSTANTIATE_FOR_EVERY_ISA(SamplingTest);

TEST_P(SamplingTest, GreedyTakesTheLargestTiesToTheLowerId) {
  EXPECT_EQ(Sample({1, 5, 5, 2}, {PlainRow(0)}).tokens, std::vector<int32_t>{1});
  std::vector<float> logits(1000, -3);
  logits[999] = logits[998] = 4;
  EXPECT_EQ(Sample(logits, {PlainRow(0), PlainRow(1e-6f)}).tokens,
            std::vector<int32_t>({998, 998}));
  EXPECT_EQ(Sample({-8}, {PlainRow(0)}).tokens, std::vector<int32_t>{0});
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
        row.top_k = top_k;
        row.top_p = top_p;
        row.min_p = min_p;
        SCOPED_TRACE(testing::Message() << top_k << " " << top_p << " " << min_p);
        ExpectDistribution(logits, row);
      }
    }
  }
}

TEST_P(SamplingTest, TheTightestTruncationsAreGreedy) {
  const auto logits = RandomFloats(90, 4, 2);
  const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
  std::vector<SamplingRow> rows(3 * 20, PlainRow(2));
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].seed = i;
    if (i % 3 == 0) rows[i].top_k = 1;
    if (i % 3 == 1) rows[i].top_p = 1e-6f;
    if (i % 3 == 2) rows[i].min_p = 1;
  }
  for (int32_t token : Sample(logits, rows).tokens) EXPECT_EQ(token, best);
}

TEST_P(SamplingTest, TopKTiesGoToTheLowerIds) {
  SamplingRow row = PlainRow(1);
  row.top_k = 3;
  std::set<int32_t> seen;
  std::vector<SamplingRow> rows(500, row);
  for (size_t i = 0; i < rows.size(); ++i) rows[i].counter = i;
  for (int32_t token : Sample(std::vector<float>(40, 1.5f), rows).tokens) seen.insert(token);
  EXPECT_EQ(seen, std::set<int32_t>({0, 1, 2}));
}

TEST_P(SamplingTest, TopPOfManyEqualTokensKeepsTheirShare) {
  SamplingRow row = PlainRow(1);
  row.top_p = 0.5f;
  std::vector<SamplingRow> rows(10000, row);
  for (size_t i = 0; i < rows.size(); ++i) rows[i].counter = i;
  std::set<int32_t> seen;
  for (int32_t token : Sample(std::vector<float>(400, 0.0f), rows).tokens) seen.insert(token);
  EXPECT_EQ(seen.size(), 200u);
  EXPECT_EQ(*seen.rbegin(), 199);
}

TEST_P(SamplingTest, BiasAndPenaltiesShapeTheDistribution) {
  const auto logits = RandomFloats(40, 5, 2);
  biases_ = {{3, 2.5f}, {4, -1}, {5, -kInf}, {6, 100}, {6, -99}};
  penalties_ = {{0, 0}, {1, 1}, {2, 5}, {3, 2}, {20, 0}, {21, 3}};
  SamplingRow row = PlainRow(0.9f);
  row.bias_end = 5;
  row.penalty_begin = 1;
  row.penalty_end = 6;
  row.repetition_penalty = 1.3f;
  row.presence_penalty = 0.4f;
  row.frequency_penalty = 0.25f;
  ExpectDistribution(logits, row);
  row.top_k = 10;
  row.top_p = 0.8f;
  ExpectDistribution(logits, row);
}

TEST_P(SamplingTest, EachRowHasItsOwnSettings) {
  biases_ = {{0, 50}, {7, 50}};
  SamplingRow first = PlainRow(0), second = PlainRow(0), plain = PlainRow(0);
  first.bias_end = 1;
  second.bias_begin = 1;
  second.bias_end = 2;
  EXPECT_EQ(Sample({0, 0, 9, 0, 0, 0, 0, 0}, {first, second, plain}).tokens,
            std::vector<int32_t>({0, 7, 2}));
}

TEST_P(SamplingTest, ADrawIsAFunctionOfSeedAndCounter) {
  const auto logits = RandomFloats(500, 6);
  std::vector<SamplingRow> rows(64, PlainRow(1));
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].seed = i / 8;
    rows[i].counter = i % 8;
  }
  const std::vector<int32_t> tokens = Sample(logits, rows).tokens;
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(Sample(logits, {rows[i]}).tokens[0], tokens[i]);  // alone as in the batch
  }
  EXPECT_GT(std::set<int32_t>(tokens.begin(), tokens.end()).size(), 40u);
}

TEST_P(SamplingTest, LogprobsAreThoseOfTheRawLogits) {
  const auto logits = RandomFloats(100, 7, 3);
  biases_ = {{11, 1000}};
  penalties_ = {{11, 2}};
  SamplingRow row = PlainRow(1.7f);
  row.bias_end = 1;
  row.penalty_end = 1;
  row.frequency_penalty = 1;
  row.num_logprobs = 5;
  SamplingRow none = PlainRow(0);
  const auto want = reference::LogProbabilities(View(logits, {row}, 0), 0);
  const Sampled& s = Sample(logits, {row, none}, 8);
  EXPECT_EQ(s.tokens[0], 11);
  EXPECT_NEAR(s.logprobs[0], want[11], 1e-5);
  EXPECT_NEAR(s.logprobs[1], *std::max_element(want.begin(), want.end()), 1e-5);
  std::vector<int32_t> order(100);
  for (int32_t i = 0; i < 100; ++i) order[i] = i;
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

TEST_P(SamplingTest, TopLogprobTiesGoToTheLowerId) {
  SamplingRow row = PlainRow(0);
  row.num_logprobs = 4;
  const Sampled& s = Sample({2, 7, 2, 7, 2, 1}, {row}, 4);
  EXPECT_EQ(s.top_ids, std::vector<int32_t>({1, 3, 0, 2}));
}

TEST_P(SamplingTest, MoreLogprobsThanTokens) {
  SamplingRow row = PlainRow(0);
  row.num_logprobs = 5;
  EXPECT_EQ(Sample({1, 2}, {row}, 5).top_ids, std::vector<int32_t>({1, 0, -1, -1, -1}));
}

TEST_P(SamplingTest, RowsWithoutAFiniteMaximumYieldAValidId) {
  for (const float temperature : {0.0f, 1.0f}) {
    SamplingRow row = PlainRow(temperature);
    row.top_p = 0.9f;
    row.num_logprobs = 2;
    EXPECT_EQ(Sample(std::vector<float>(20, -kInf), {row}, 2).tokens[0], 0);
    EXPECT_EQ(Sample(std::vector<float>(20, NAN), {row}, 2).tokens[0], 0);
    std::vector<float> logits(20, 1.0f);
    logits[13] = logits[15] = kInf;
    EXPECT_EQ(Sample(logits, {row}, 2).tokens[0], 13);
    std::fill(logits.begin(), logits.end(), NAN);
    logits[18] = -5;
    EXPECT_EQ(Sample(logits, {row}, 2).tokens[0], 18);
    EXPECT_EQ(result_.top_ids[0], 18);
  }
}

// Each way a row can be corrupt, beside a sound row of the same call: odd and even lengths, the
// place at either end and in between, greedy and drawn, with and without alternatives, adjusted or
// not. All its log probabilities are NaN, and the sound row's are what they are alone.
TEST_P(SamplingTest, ACorruptRowHasNoLogprobsAndAValidId) {
  for (const int32_t vocab : {1, 20, 1000, 1037}) {
    const std::vector<float> sound = RandomFloats(vocab, 9, 3);
    for (const float bad : {std::nanf(""), -std::nanf(""), kInf, -kInf}) {
      for (const int32_t place : {0, vocab / 2, vocab - 1}) {
        for (const float temperature : {0.0f, 1.0f}) {
          for (const int32_t alternatives : {0, 3}) {
            SCOPED_TRACE(testing::Message() << vocab << " " << bad << " " << place << " "
                                            << temperature << " " << alternatives);
            SamplingRow row = PlainRow(temperature);
            row.top_p = alternatives > 0 ? 0.9f : 1;
            row.num_logprobs = alternatives;
            biases_ = {{0, -kInf}};
            row.bias_end = alternatives > 0 ? 1 : 0;
            const Sampled alone = Sample(sound, {row}, alternatives);
            ASSERT_FALSE(std::isnan(alone.logprobs[0]));

            SamplingParamsView view = View(sound, {row, row}, alternatives);
            float* const corrupt = view.logits + vocab;
            if (bad == -kInf) {
              std::fill_n(corrupt, vocab, bad);
            } else {
              corrupt[place] = bad;
            }
            const std::vector<double> want = reference::LogProbabilities(view, 1);
            for (const double x : want) ASSERT_TRUE(std::isnan(x));
            const std::vector<SamplingRow> rows = {row, row};
            view.rows = rows.data();
            backend_->Sample(view);
            EXPECT_EQ(result_.tokens[0], alone.tokens[0]);
            EXPECT_EQ(result_.logprobs[0], alone.logprobs[0]);
            EXPECT_GE(result_.tokens[1], 0);
            EXPECT_LT(result_.tokens[1], vocab);
            EXPECT_TRUE(std::isnan(result_.logprobs[1])) << result_.logprobs[1];
            for (int32_t i = 0; i < std::min(alternatives, vocab); ++i) {
              EXPECT_EQ(result_.top_logprobs[i], alone.top_logprobs[i]);
              EXPECT_TRUE(std::isnan(result_.top_logprobs[alternatives + i]));
            }
          }
        }
      }
    }
  }
}

// -infinity is a way to say "never", of a model (its padding tokens) and of a ban.
TEST_P(SamplingTest, MinusInfinityIsNoCorruption) {
  std::vector<float> logits(40, -kInf);
  logits[7] = 2;
  logits[30] = 1;
  biases_ = {{7, -kInf}};
  for (const float temperature : {0.0f, 1.0f}) {
    SamplingRow row = PlainRow(temperature);
    EXPECT_FALSE(std::isnan(Sample(logits, {row}).logprobs[0]));
    row.bias_end = 1;
    row.num_logprobs = 3;
    const Sampled& s = Sample(logits, {row}, 3);
    EXPECT_EQ(s.tokens[0], 30);
    EXPECT_NEAR(s.logprobs[0], std::log(1 / (1 + std::exp(1.0))), 1e-6);
    EXPECT_EQ(s.top_logprobs[2], -kInf);
    // Every finite token banned: a sound row all the same.
    biases_ = {{7, -kInf}, {30, -kInf}};
    row.bias_end = 2;
    EXPECT_FALSE(std::isnan(Sample(logits, {row}, 3).logprobs[0]));
    biases_ = {{7, -kInf}};
  }
}

TEST_P(SamplingTest, ABannedTokenIsNeverDrawn) {
  biases_ = {{1, -kInf}};
  SamplingRow row = PlainRow(1);
  row.bias_end = 1;
  std::vector<SamplingRow> rows(200, row);
  for (size_t i = 0; i < rows.size(); ++i) rows[i].seed = i;
  for (int32_t token : Sample({0, 20, 0}, rows).tokens) EXPECT_NE(token, 1);
}

TEST(UniformDrawTest, IsUniformAndUncorrelated) {
  constexpr int kCells = 64, kDraws = 64000;
  std::vector<int> by_counter(kCells), by_seed(kCells), pairs(kCells);
  for (int i = 0; i < kDraws; ++i) {
    const double a = cpu::UniformDraw(42, i), b = cpu::UniformDraw(i, 0);
    ASSERT_GE(a, 0);
    ASSERT_LT(a, 1);
    ++by_counter[static_cast<int>(a * kCells)];
    ++by_seed[static_cast<int>(b * kCells)];
    const double next = cpu::UniformDraw(42, i + 1);
    ++pairs[static_cast<int>(a * 8) * 8 + static_cast<int>(next * 8)];
  }
  for (const auto& cells : {by_counter, by_seed, pairs}) {
    double chi_square = 0;
    for (int count : cells) chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
    EXPECT_LT(chi_square, 63 + 5 * std::sqrt(126.0));
    EXPECT_GT(chi_square, 63 - 5 * std::sqrt(126.0));
  }
}

}  // namespace
}  // namespace tidal
