#include "kernels/reference/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "tests/kernels/cpu_backend_fixture.h"
#include "tests/kernels/cuda/cuda_fixture.h"

namespace tidal {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int32_t kMaxRows = 512;
constexpr int32_t kMaxVocab = 160000;

SamplingRow PlainRow(float temperature) {
  SamplingRow row = {};
  row.temperature = temperature;
  row.top_p = 1;
  row.repetition_penalty = 1;
  return row;
}

struct Sampled {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<int32_t> top_ids;
  std::vector<float> top_logprobs;
};

// What both back ends are given.
struct Batch {
  std::vector<float> logits;  // [rows, vocab]
  std::vector<SamplingRow> rows;
  std::vector<TokenOccurrence> penalties;
  std::vector<TokenBias> biases;
  int32_t max_logprobs = 0;

  int32_t num_rows() const { return static_cast<int32_t>(rows.size()); }
  int32_t vocab() const { return static_cast<int32_t>(logits.size() / rows.size()); }
};

class CudaSamplingTest : public CudaFixture {
 protected:
  void SetUp() override {
    CudaFixture::SetUp();
    if (backend_ == nullptr) return;
    ASSERT_TRUE(backend_->Reserve({.max_tokens = kMaxRows,
                                   .max_decode_rows = kMaxRows,
                                   .max_context_len = 256,
                                   .num_heads = 2,
                                   .num_kv_heads = 1,
                                   .head_dim = 64,
                                   .max_token_budget = 64,
                                   .vocab = kMaxVocab,
                                   .block_size = 16,
                                   .hidden = 64,
                                   .intermediate = 64,
                                   .max_scored_tokens = 256 * kMaxRows}));
  }

  // On the device.
  Sampled Sample(const Batch& batch) {
    const size_t rows = batch.rows.size(), tops = rows * batch.max_logprobs;
    DeviceArray<float> logits(*backend_, batch.logits);
    DeviceArray<SamplingRow> device_rows(*backend_, batch.rows);
    DeviceArray<TokenOccurrence> penalties(*backend_, batch.penalties);
    DeviceArray<TokenBias> biases(*backend_, batch.biases);
    DeviceArray<int32_t> tokens(*backend_, std::vector<int32_t>(rows + 1, -5));
    DeviceArray<float> logprobs(*backend_, std::vector<float>(rows + 1, -5));
    DeviceArray<int32_t> top_ids(*backend_, std::vector<int32_t>(tops + 1, -5));
    DeviceArray<float> top_logprobs(*backend_, std::vector<float>(tops + 1, -5));
    backend_->Sample({logits.get(), device_rows.get(), penalties.get(), biases.get(), tokens.get(),
                      logprobs.get(), top_ids.get(), top_logprobs.get(), batch.num_rows(),
                      batch.vocab(), batch.max_logprobs});
    Sampled s = {tokens.Read(), logprobs.Read(), top_ids.Read(), top_logprobs.Read()};
    EXPECT_EQ(s.tokens.back(), -5);
    EXPECT_EQ(s.logprobs.back(), -5);
    EXPECT_EQ(s.top_ids.back(), -5);
    EXPECT_EQ(s.top_logprobs.back(), -5);
    s.tokens.pop_back();
    s.logprobs.pop_back();
    s.top_ids.pop_back();
    s.top_logprobs.pop_back();
    return s;
  }
  // Each of the rows samples from the same logits.
  Sampled Sample(const std::vector<float>& logits, const std::vector<SamplingRow>& rows,
                 int32_t max_logprobs = 0) {
    Batch batch = {{}, rows, penalties_, biases_, max_logprobs};
    for (size_t i = 0; i < rows.size(); ++i) {
      batch.logits.insert(batch.logits.end(), logits.begin(), logits.end());
    }
    return Sample(batch);
  }
  // `draws` tokens by `row` with counters 0, 1, ...
  std::vector<int32_t> Draws(const std::vector<float>& logits, SamplingRow row, int32_t draws) {
    std::vector<int32_t> tokens;
    while (static_cast<int32_t>(tokens.size()) < draws) {
      std::vector<SamplingRow> rows(kMaxRows, row);
      for (int32_t i = 0; i < kMaxRows; ++i) rows[i].counter = tokens.size() + i;
      const Sampled s = Sample(logits, rows);
      tokens.insert(tokens.end(), s.tokens.begin(), s.tokens.end());
    }
    return tokens;
  }

  // Compares the frequencies of many tokens with the reference (chi-square).
  void ExpectDistribution(const std::vector<float>& logits, const SamplingRow& row) {
    std::vector<float> copy = logits;
    SamplingParamsView view = {};
    view.logits = copy.data();
    view.rows = &row;
    view.penalties = penalties_.data();
    view.biases = biases_.data();
    view.num_rows = 1;
    view.vocab = static_cast<int32_t>(logits.size());
    const auto want = reference::SamplingDistribution(view, 0);
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

  // Both back ends must choose the same tokens, but for draws where rounding decides: of these
  // `most` are excused.
  void ExpectLikeCpu(const Batch& batch, int32_t most) {
    const Sampled got = Sample(batch);
    const auto cpu = MakeCpuBackend({.num_threads = 2, .isa = CpuIsa::kPortable});
    Batch copy = batch;
    const size_t tops = batch.rows.size() * batch.max_logprobs;
    Sampled want = {std::vector<int32_t>(batch.rows.size()), std::vector<float>(batch.rows.size()),
                    std::vector<int32_t>(tops), std::vector<float>(tops)};
    cpu->Sample({copy.logits.data(), copy.rows.data(), copy.penalties.data(), copy.biases.data(),
                 want.tokens.data(), want.logprobs.data(), want.top_ids.data(),
                 want.top_logprobs.data(), copy.num_rows(), copy.vocab(), copy.max_logprobs});
    int32_t different = 0;
    for (size_t i = 0; i < want.tokens.size(); ++i) {
      ASSERT_GE(got.tokens[i], 0);
      ASSERT_LT(got.tokens[i], batch.vocab());
      if (got.tokens[i] != want.tokens[i]) {
        ++different;
        if (different > most) {
          ADD_FAILURE() << "row " << i << ": " << got.tokens[i] << ", not " << want.tokens[i];
        }
        continue;
      }
      if (std::isnan(want.logprobs[i])) {
        EXPECT_TRUE(std::isnan(got.logprobs[i])) << i;
      } else {
        EXPECT_NEAR(got.logprobs[i], want.logprobs[i], 3e-5) << i;
      }
    }
    for (size_t i = 0; i < tops; ++i) {
      ASSERT_EQ(got.top_ids[i], want.top_ids[i]) << i / batch.max_logprobs << " " << i;
      if (want.top_ids[i] < 0) {
        EXPECT_EQ(got.top_logprobs[i], -kInf);
      } else if (std::isnan(want.top_logprobs[i])) {
        EXPECT_TRUE(std::isnan(got.top_logprobs[i])) << i;
      } else if (got.top_logprobs[i] !=
                 want.top_logprobs[i]) {  // equal infinities have no distance
        EXPECT_NEAR(got.top_logprobs[i], want.top_logprobs[i], 3e-5);
      }
    }
  }

  std::vector<TokenOccurrence> penalties_;
  std::vector<TokenBias> biases_;
};

TEST_F(CudaSamplingTest, GreedyTakesTheLargestTiesToTheLowerId) {
  EXPECT_EQ(Sample({1, 5, 5, 2}, {PlainRow(0)}).tokens, std::vector<int32_t>{1});
  std::vector<float> logits(1000, -3);
  logits[999] = logits[998] = 4;
  EXPECT_EQ(Sample(logits, {PlainRow(0), PlainRow(1e-6f)}).tokens,
            std::vector<int32_t>({998, 998}));
  EXPECT_EQ(Sample({-8}, {PlainRow(0)}).tokens, std::vector<int32_t>{0});
  EXPECT_EQ(Sample({-1, -0.0f, 0.0f}, {PlainRow(0)}).tokens, std::vector<int32_t>{1});
  // Ties in different blocks of a cluster.
  std::vector<float> wide(128256, 0.5f);
  wide[128255] = wide[70001] = wide[70000] = 3;
  EXPECT_EQ(Sample(wide, {PlainRow(0)}).tokens, std::vector<int32_t>{70000});
}

TEST_F(CudaSamplingTest, DrawsFollowTheDistribution) {
  ExpectDistribution(RandomFloats(50, 1), PlainRow(1));
  ExpectDistribution(RandomFloats(50, 2, 3), PlainRow(0.5f));
  ExpectDistribution(RandomFloats(17, 3, 3), PlainRow(2));
  ExpectDistribution(std::vector<float>(16, 0.0f), PlainRow(1));
}

TEST_F(CudaSamplingTest, TruncatedDrawsFollowTheDistribution) {
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

TEST_F(CudaSamplingTest, TheTightestTruncationsAreGreedy) {
  for (const int32_t vocab : {90, 50000}) {
    const auto logits = RandomFloats(vocab, 4, 2);
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    std::vector<SamplingRow> rows(3 * 20, PlainRow(2));
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].seed = i;
      if (i % 3 == 0) rows[i].top_k = 1;
      if (i % 3 == 1) rows[i].top_p = 1e-7f;
      if (i % 3 == 2) rows[i].min_p = 1;
    }
    for (const int32_t token : Sample(logits, rows).tokens) EXPECT_EQ(logits[token], logits[best]);
  }
}

TEST_F(CudaSamplingTest, TopKTiesGoToTheLowerIds) {
  for (const int32_t vocab : {40, 30000}) {
    SamplingRow row = PlainRow(1);
    row.top_k = 3;
    const auto draws = Draws(std::vector<float>(vocab, 1.5f), row, kMaxRows);
    EXPECT_EQ(std::set<int32_t>(draws.begin(), draws.end()), std::set<int32_t>({0, 1, 2}));
  }
}

TEST_F(CudaSamplingTest, TopPOfManyEqualTokensKeepsTheirShare) {
  SamplingRow row = PlainRow(1);
  row.top_p = 0.5f;
  const auto draws = Draws(std::vector<float>(400, 0.0f), row, 10000);
  const std::set<int32_t> seen(draws.begin(), draws.end());
  EXPECT_EQ(seen.size(), 200u);
  EXPECT_EQ(*seen.rbegin(), 199);
  // More ties than a list holds.
  for (const int32_t token : Draws(std::vector<float>(20000, 0.0f), row, kMaxRows)) {
    EXPECT_LT(token, 10000);
  }
}

TEST_F(CudaSamplingTest, BiasAndPenaltiesShapeTheDistribution) {
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

TEST_F(CudaSamplingTest, EachRowHasItsOwnSettings) {
  biases_ = {{0, 50}, {7, 50}};
  SamplingRow first = PlainRow(0), second = PlainRow(0), plain = PlainRow(0);
  first.bias_end = 1;
  second.bias_begin = 1;
  second.bias_end = 2;
  EXPECT_EQ(Sample({0, 0, 9, 0, 0, 0, 0, 0}, {first, second, plain}).tokens,
            std::vector<int32_t>({0, 7, 2}));
}

TEST_F(CudaSamplingTest, ADrawIsAFunctionOfSeedAndCounter) {
  const auto logits = RandomFloats(40000, 6);
  std::vector<SamplingRow> rows(64, PlainRow(1));
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].seed = i / 8;
    rows[i].counter = i % 8;
    if (i % 2 == 0) rows[i].top_p = 0.9f;
  }
  const std::vector<int32_t> tokens = Sample(logits, rows).tokens;
  for (size_t i = 0; i < rows.size(); i += 5) {
    EXPECT_EQ(Sample(logits, {rows[i]}).tokens[0], tokens[i]);  // alone as in the batch
  }
  EXPECT_GT(std::set<int32_t>(tokens.begin(), tokens.end()).size(), 40u);
}

TEST_F(CudaSamplingTest, LogprobsAreThoseOfTheRawLogits) {
  const auto logits = RandomFloats(100, 7, 3);
  biases_ = {{11, 1000}};
  penalties_ = {{11, 2}};
  SamplingRow row = PlainRow(1.7f);
  row.bias_end = 1;
  row.penalty_end = 1;
  row.frequency_penalty = 1;
  row.num_logprobs = 5;
  SamplingParamsView view = {};
  std::vector<float> copy = logits;
  view.logits = copy.data();
  view.vocab = 100;
  const auto want = reference::LogProbabilities(view, 0);
  const Sampled s = Sample(logits, {row, PlainRow(0)}, 8);
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

TEST_F(CudaSamplingTest, TopLogprobTiesAndShortRows) {
  SamplingRow row = PlainRow(0);
  row.num_logprobs = 4;
  EXPECT_EQ(Sample({2, 7, 2, 7, 2, 1}, {row}, 4).top_ids, std::vector<int32_t>({1, 3, 0, 2}));
  // More ties than a list holds.
  EXPECT_EQ(Sample(std::vector<float>(30000, -2), {row}, 4).top_ids,
            std::vector<int32_t>({0, 1, 2, 3}));
  row.num_logprobs = 5;
  EXPECT_EQ(Sample({1, 2}, {row}, 5).top_ids, std::vector<int32_t>({1, 0, -1, -1, -1}));
}

TEST_F(CudaSamplingTest, RowsWithoutAFiniteMaximumYieldAValidId) {
  for (const int32_t vocab : {20, 3000, 20001}) {
    for (const float temperature : {0.0f, 1.0f}) {
      SamplingRow row = PlainRow(temperature);
      row.top_p = 0.9f;
      row.num_logprobs = 2;
      for (const float nothing : {-kInf, NAN}) {
        const Sampled s = Sample(std::vector<float>(vocab, nothing), {row}, 2);
        EXPECT_EQ(s.tokens[0], 0);
        EXPECT_EQ(s.top_ids, std::vector<int32_t>({0, 1}));
      }
      std::vector<float> logits(vocab, 1.0f);
      logits[13] = logits[15] = kInf;
      const Sampled infinite = Sample(logits, {row}, 2);
      EXPECT_EQ(infinite.tokens[0], 13);
      EXPECT_EQ(infinite.top_ids, std::vector<int32_t>({13, 15}));
      std::fill(logits.begin(), logits.end(), NAN);
      logits[18] = -5;
      const Sampled one = Sample(logits, {row}, 2);
      EXPECT_EQ(one.tokens[0], 18);
      EXPECT_EQ(one.top_ids[0], 18);
    }
  }
}

TEST_F(CudaSamplingTest, ABannedTokenIsNeverDrawn) {
  biases_ = {{1, -kInf}};
  SamplingRow row = PlainRow(1);
  row.bias_end = 1;
  for (const int32_t token : Draws({0, 20, 0}, row, kMaxRows)) EXPECT_NE(token, 1);
}

// Rows of every kind over vocabularies that take one, two, four and eight blocks, odd ones among
// them: the same tokens as on the CPU.
TEST_F(CudaSamplingTest, ChoosesTheTokensOfTheCpuBackend) {
  std::mt19937 random(17);
  const auto pick = [&](const auto& choices) {
    return *(choices.begin() + random() % choices.size());
  };
  for (const int32_t vocab : {5, 1000, 2049, 16384, 16385, 50257, 128256, 151936}) {
    // Values on a coarse grid tie; spread ones fall off slowly or fast.
    for (const float grid : {0.0f, 0.25f}) {
      Batch batch;
      batch.max_logprobs = 20;
      const int32_t rows = 40;
      for (int32_t i = 0; i < rows; ++i) {
        auto logits = RandomFloats(vocab, static_cast<uint32_t>(random()),
                                   pick(std::vector<float>{0.01f, 1, 3, 8}));
        for (float& x : logits) {
          if (grid > 0) x = std::round(x / grid) * grid;
          if (random() % 500 == 0) x = -kInf;
          if (i % 4 == 3 && random() % 500 == 0) x = NAN;
        }
        batch.logits.insert(batch.logits.end(), logits.begin(), logits.end());
        SamplingRow row = PlainRow(pick(std::vector<float>{0, 0.3f, 1, 1, 2}));
        row.top_k = pick(std::vector<int32_t>{0, 0, 1, 50, 2048, 3000, 20000});
        row.top_k = std::min(row.top_k, vocab);
        row.top_p = pick(std::vector<float>{1, 1, 0.1f, 0.9f, 0.999f});
        row.min_p = pick(std::vector<float>{0, 0, 0.001f, 0.1f});
        row.num_logprobs = pick(std::vector<int32_t>{0, 1, 5, 20});
        row.seed = random();
        row.counter = random() % 100;
        row.penalty_begin = static_cast<int32_t>(batch.penalties.size());
        row.bias_begin = static_cast<int32_t>(batch.biases.size());
        if (i % 3 == 0) {
          row.repetition_penalty = pick(std::vector<float>{1, 1.2f, 0.8f});
          row.frequency_penalty = pick(std::vector<float>{0, 0.5f, -0.5f});
          row.presence_penalty = pick(std::vector<float>{0, 1});
          for (int32_t id = static_cast<int32_t>(random() % 7); id < vocab; id += 7) {
            batch.penalties.push_back({id, static_cast<int32_t>(random() % 4)});
          }
        }
        if (i % 4 == 0) {
          for (int32_t j = 0; j < 300; ++j) {
            const auto id = static_cast<int32_t>(random() % vocab);
            const float bias = static_cast<float>(random() % 9) - 4;
            batch.biases.push_back({id, j % 50 == 0 ? -kInf : bias});
          }
        }
        row.penalty_end = static_cast<int32_t>(batch.penalties.size());
        row.bias_end = static_cast<int32_t>(batch.biases.size());
        batch.rows.push_back(row);
      }
      SCOPED_TRACE(testing::Message() << "vocab " << vocab << " grid " << grid);
      ExpectLikeCpu(batch, 1);
    }
  }
}

}  // namespace
}  // namespace tidal
