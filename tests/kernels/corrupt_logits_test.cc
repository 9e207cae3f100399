// Rows of logits that are no numbers, as kernels/sampling_params.h has it: beside a sound row, in
// vocabularies that take one, two, four and eight blocks of a GPU.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "tests/kernels/cpu_backend_fixture.h"
#include "tests/kernels/sampling_case.h"

namespace tidal {
namespace {

class CorruptLogitsTest : public SamplingFixture {};
TIDAL_INSTANTIATE_FOR_EVERY_BACKEND(CorruptLogitsTest);

SamplingRow RowOf(float temperature, int32_t num_logprobs, std::vector<TokenBias> biases) {
  SamplingRow row = PlainRow(temperature);
  if (num_logprobs > 0) row.settings.top_p = 0.9f;
  row.settings.num_logprobs = num_logprobs;
  row.biases = std::move(biases);
  return row;
}

// Each way a row can be corrupt: the place at either end and in between, greedy and drawn, with and
// without alternatives, adjusted or not. All its log probabilities are NaN, and the sound row's are
// what they are alone.
TEST_P(CorruptLogitsTest, HaveNoLogprobsAndAValidId) {
  for (const int32_t vocab : {1, 20, 1037, 2049, 16385, 50257, 151936}) {
    const std::vector<float> sound = RandomFloats(vocab, 9, 3);
    for (const float bad : {std::nanf(""), -std::nanf(""), kInf, -kInf}) {
      for (const int32_t place : {0, vocab / 3, vocab / 2, vocab - 1}) {
        std::vector<float> both = sound;
        both.insert(both.end(), sound.begin(), sound.end());
        both[vocab + place] = bad;
        if (bad == -kInf) std::fill(both.begin() + vocab, both.end(), bad);
        for (const float temperature : {0.0f, 1.0f}) {
          for (const int32_t alternatives : {0, 3}) {
            SCOPED_TRACE(testing::Message() << vocab << " " << bad << " " << place << " "
                                            << temperature << " " << alternatives);
            std::vector<TokenBias> ban;
            if (alternatives > 0) ban = {{0, -kInf}};
            const SamplingRow row = RowOf(temperature, alternatives, ban);
            const Sampled alone = SamplingCase(*backend_, {row}, sound, alternatives).Sample();
            const Sampled s = SamplingCase(*backend_, {row, row}, both, alternatives).Sample();
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

// -infinity is a way to say "never", of a model (its padding tokens) and of a ban.
TEST_P(CorruptLogitsTest, AreNotThoseWithMinusInfinities) {
  std::vector<float> logits(20000, -kInf);
  logits[7] = 2;
  logits[17000] = 1;
  for (const float temperature : {0.0f, 1.0f}) {
    EXPECT_FALSE(std::isnan(Sample(logits, {RowOf(temperature, 0, {})}).logprobs[0]));
    const Sampled s = Sample(logits, {RowOf(temperature, 3, {{7, -kInf}})}, 3);
    EXPECT_EQ(s.tokens[0], 17000);
    EXPECT_NEAR(s.logprobs[0], -std::log(1 + std::exp(1.0)), 1e-5);
    EXPECT_EQ(s.top_logprobs[2], -kInf);
    // Every finite token banned: a sound row all the same.
    const SamplingRow banned = RowOf(temperature, 3, {{7, -kInf}, {17000, -kInf}});
    EXPECT_FALSE(std::isnan(Sample(logits, {banned}, 3).logprobs[0]));
  }
}

TEST_P(CorruptLogitsTest, HaveNoLogprobsOfGivenTokens) {
  for (const float bad : {std::nanf(""), kInf}) {
    std::vector<float> logits(20000, 1.0f);
    logits[17000] = bad;
    SamplingRow row = PlainRow(1);
    row.logprob_ids = {3, 17000, 19999};
    const Sampled s = Sample(logits, {row}, 3);
    for (const float logprob : s.top_logprobs) EXPECT_TRUE(std::isnan(logprob));
  }
}

TEST_P(CorruptLogitsTest, YieldTheFirstOfTheBest) {
  for (const int32_t vocab : {20, 3000, 20001}) {
    for (const float temperature : {0.0f, 1.0f}) {
      const SamplingRow row = RowOf(temperature, 2, {});
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

}  // namespace
}  // namespace tidal
