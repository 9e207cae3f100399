// Rows of logits that are no numbers, as kernels/sampling_params.h has it: beside a sound row, in
// vocabularies that take one, two, four and eight blocks.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/kernels/cpu_backend_fixture.h"
#include "tests/kernels/cuda/cuda_fixture.h"

namespace tidal {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int32_t kMaxVocab = 160000;

class CudaCorruptLogitsTest : public CudaFixture {
 protected:
  struct Sampled {
    std::vector<int32_t> tokens;
    std::vector<float> logprobs, top_logprobs;
  };

  void SetUp() override {
    CudaFixture::SetUp();
    if (backend_ == nullptr) return;
    ASSERT_TRUE(backend_->Reserve({.max_tokens = 4,
                                   .max_decode_rows = 4,
                                   .max_context_len = 256,
                                   .num_heads = 2,
                                   .num_kv_heads = 1,
                                   .head_dim = 64,
                                   .max_token_budget = 64,
                                   .vocab = kMaxVocab,
                                   .block_size = 16,
                                   .hidden = 64,
                                   .intermediate = 64,
                                   .max_scored_tokens = 1024}));
  }

  // Every row of `logits` samples as `row` says; the bias bans its tokens.
  Sampled Sample(const std::vector<std::vector<float>>& logits, const SamplingRow& row,
                 const std::vector<TokenBias>& bans) {
    std::vector<float> all;
    for (const auto& one : logits) all.insert(all.end(), one.begin(), one.end());
    const size_t rows = logits.size(), tops = rows * row.num_logprobs;
    DeviceArray<float> device_logits(*backend_, all);
    DeviceArray<SamplingRow> device_rows(*backend_, std::vector<SamplingRow>(rows, row));
    DeviceArray<TokenOccurrence> penalties(*backend_, std::vector<TokenOccurrence>(1));
    DeviceArray<TokenBias> biases(*backend_, bans);
    DeviceArray<int32_t> tokens(*backend_, std::vector<int32_t>(rows, -5));
    DeviceArray<float> logprobs(*backend_, std::vector<float>(rows, -5));
    DeviceArray<int32_t> top_ids(*backend_, std::vector<int32_t>(tops + 1, -5));
    DeviceArray<float> top_logprobs(*backend_, std::vector<float>(tops + 1, -5));
    backend_->Sample({.logits = device_logits.get(),
                      .rows = device_rows.get(),
                      .penalties = penalties.get(),
                      .biases = biases.get(),
                      .token_ids = tokens.get(),
                      .logprobs = logprobs.get(),
                      .top_ids = top_ids.get(),
                      .top_logprobs = top_logprobs.get(),
                      .num_rows = static_cast<int32_t>(rows),
                      .vocab = static_cast<int32_t>(logits[0].size()),
                      .max_logprobs = row.num_logprobs});
    return {tokens.Read(), logprobs.Read(), top_logprobs.Read()};
  }
};

SamplingRow RowOf(float temperature, int32_t num_logprobs, int32_t num_bans) {
  SamplingRow row = {};
  row.temperature = temperature;
  row.top_p = num_logprobs > 0 ? 0.9f : 1;
  row.repetition_penalty = 1;
  row.num_logprobs = num_logprobs;
  row.bias_end = num_bans;
  return row;
}

TEST_F(CudaCorruptLogitsTest, HaveNoLogprobsAndAValidId) {
  for (const int32_t vocab : {1, 5, 2049, 16385, 50257, 151936}) {
    const std::vector<float> sound = RandomFloats(vocab, 9, 3);
    for (const float bad : {std::nanf(""), -std::nanf(""), kInf, -kInf}) {
      for (const int32_t place : {0, vocab / 3, vocab / 2, vocab - 1}) {
        std::vector<float> corrupt = sound;
        corrupt[place] = bad;
        if (bad == -kInf) std::fill(corrupt.begin(), corrupt.end(), bad);
        for (const bool drawn : {false, true}) {
          for (const int32_t alternatives : {0, 3}) {
            SCOPED_TRACE(testing::Message() << vocab << " " << bad << " " << place << " " << drawn
                                            << " " << alternatives);
            const SamplingRow row = RowOf(drawn ? 1 : 0, alternatives, alternatives > 0 ? 1 : 0);
            const std::vector<TokenBias> bans = {{0, -kInf}};
            const Sampled alone = Sample({sound}, row, bans);
            const Sampled s = Sample({sound, corrupt}, row, bans);
            ASSERT_FALSE(std::isnan(alone.logprobs[0]));
            EXPECT_EQ(s.tokens[0], alone.tokens[0]);
            EXPECT_EQ(s.logprobs[0], alone.logprobs[0]);
            EXPECT_GE(s.tokens[1], 0);
            EXPECT_LT(s.tokens[1], vocab);
            EXPECT_TRUE(std::isnan(s.logprobs[1])) << s.logprobs[1];
            for (int32_t i = 0; i < std::min(alternatives, vocab); ++i) {
              EXPECT_EQ(s.top_logprobs[i], alone.top_logprobs[i]);
              EXPECT_TRUE(std::isnan(s.top_logprobs[alternatives + i]));
            }
          }
        }
      }
    }
  }
}

TEST_F(CudaCorruptLogitsTest, AreNotThoseWithMinusInfinities) {
  std::vector<float> logits(20000, -kInf);
  logits[7] = 2;
  logits[17000] = 1;
  const std::vector<TokenBias> bans = {{7, -kInf}};
  for (const float temperature : {0.0f, 1.0f}) {
    EXPECT_FALSE(std::isnan(Sample({logits}, RowOf(temperature, 0, 0), bans).logprobs[0]));
    const Sampled s = Sample({logits}, RowOf(temperature, 3, 1), bans);
    EXPECT_EQ(s.tokens[0], 17000);
    EXPECT_NEAR(s.logprobs[0], -std::log(1 + std::exp(1.0)), 1e-5);
    EXPECT_EQ(s.top_logprobs[2], -kInf);
  }
}

}  // namespace
}  // namespace tidal
