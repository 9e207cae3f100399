// Log probabilities of given tokens: as the reference computes them, and as Sample() gives them.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

#include "kernels/reference/sampling.h"
#include "tests/kernels/cpu_backend_fixture.h"
#include "tests/kernels/sampling_case.h"

namespace tidal {
namespace {

struct Scored {
  std::vector<float> logprobs;      // [rows]
  std::vector<int32_t> ranks;       // [rows]
  std::vector<int32_t> top_ids;     // [rows, max_logprobs]
  std::vector<float> top_logprobs;  // the same
};

class TokenLogprobsTest : public SamplingFixture {
 protected:
  // logits: [tokens, vocab].
  Scored Score(const std::vector<float>& logits, const std::vector<int32_t>& tokens,
               int32_t max_logprobs) {
    const size_t rows = tokens.size(), alternatives = rows * max_logprobs;
    const DeviceArray<float> device_logits(*backend_, logits);
    const DeviceArray<int32_t> device_tokens(*backend_, tokens);
    const DeviceArray<float> logprobs(*backend_, std::vector<float>(rows + 1, kPoison));
    const DeviceArray<int32_t> ranks(*backend_, std::vector<int32_t>(rows + 1, kPoison));
    const DeviceArray<int32_t> top_ids(*backend_, std::vector<int32_t>(alternatives + 1, kPoison));
    const DeviceArray<float> top(*backend_, std::vector<float>(alternatives + 1, kPoison));
    backend_->TokenLogprobs({.logits = device_logits.get(),
                             .token_ids = device_tokens.get(),
                             .logprobs = logprobs.get(),
                             .ranks = ranks.get(),
                             .top_ids = top_ids.get(),
                             .top_logprobs = top.get(),
                             .num_rows = static_cast<int32_t>(rows),
                             .vocab = static_cast<int32_t>(logits.size() / rows),
                             .max_logprobs = max_logprobs});
    return {Read(logprobs), Read(ranks), Read(top_ids), Read(top)};
  }

 private:
  static constexpr int32_t kPoison = -5;

  // All but the element behind the output, which must be as it was.
  template <typename T>
  static std::vector<T> Read(const DeviceArray<T>& out) {
    std::vector<T> host = out.Read();
    EXPECT_EQ(host.back(), kPoison);
    host.pop_back();
    return host;
  }
};
TIDAL_INSTANTIATE_FOR_EVERY_BACKEND(TokenLogprobsTest);

// Ids, best first, ties to the lower id.
std::vector<int32_t> OrderOf(const float* logits, int32_t vocab) {
  std::vector<int32_t> order(vocab);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  return order;
}

// In vocabularies of odd sizes, which take one, two, four and eight blocks of a GPU; the logits,
// exact in bf16, have ties.
TEST_P(TokenLogprobsTest, AreThoseOfTheReference) {
  for (const int32_t vocab : {1, 2, 19, 20, 1037, 2049, 16385, 50257, 151936}) {
    for (const int32_t alternatives : {0, 1, 20}) {
      SCOPED_TRACE(testing::Message() << vocab << " " << alternatives);
      const std::vector<int32_t> tokens = {0, vocab / 2, vocab - 1, vocab / 3, vocab / 7};
      const auto rows = static_cast<int32_t>(tokens.size());
      std::vector<float> logits = RandomFloats(size_t{tokens.size()} * vocab, vocab, 3);
      // A token that the model never says.
      if (vocab > 20) logits[3 * vocab + tokens[3]] = -kInf;
      const Scored scored = Score(logits, tokens, alternatives);
      const SamplingCase on_host(*host_, std::vector<SamplingRow>(rows, PlainRow(0)), logits, 0);
      for (int32_t row = 0; row < rows; ++row) {
        const std::vector<double> want = reference::LogProbabilities(on_host.Params(), row);
        const std::vector<int32_t> order = OrderOf(logits.data() + int64_t{row} * vocab, vocab);
        const auto rank = std::find(order.begin(), order.end(), tokens[row]) - order.begin() + 1;
        EXPECT_EQ(scored.ranks[row], rank);
        if (vocab > 20 && row == 3) {
          EXPECT_EQ(scored.logprobs[row], -kInf);
        } else {
          EXPECT_NEAR(scored.logprobs[row], want[tokens[row]], 2e-5);
        }
        for (int32_t i = 0; i < alternatives; ++i) {
          const int32_t at = row * alternatives + i;
          EXPECT_EQ(scored.top_ids[at], i < vocab ? order[i] : -1);
          if (i >= vocab) {
            EXPECT_EQ(scored.top_logprobs[at], -kInf);
          } else if (scored.top_ids[at] == tokens[row]) {
            EXPECT_EQ(scored.top_logprobs[at], scored.logprobs[row]) << "the same float";
          } else {
            EXPECT_NEAR(scored.top_logprobs[at], want[order[i]], 2e-5);
          }
        }
      }
    }
  }
}

// Not nearly: who looks whether a model would have said a text compares floats.
TEST_P(TokenLogprobsTest, AreTheFloatsOfSampledTokens) {
  for (const int32_t vocab : {50, 2049, 16385, 128256}) {
    constexpr int32_t kRows = 12;
    const std::vector<float> logits = RandomFloats(size_t{kRows} * vocab, 5, 4);
    std::vector<SamplingRow> rows(kRows, PlainRow(1.5f));
    for (int32_t i = 0; i < kRows; ++i) {
      rows[i].settings.seed = i;
      rows[i].settings.num_logprobs = 20;
      if (i % 2 == 0) rows[i].biases = {{7, 3}};
    }
    const Sampled sampled = SamplingCase(*backend_, rows, logits, 20).Sample();
    const Scored scored = Score(logits, sampled.tokens, 20);
    EXPECT_EQ(scored.logprobs, sampled.logprobs);
    EXPECT_EQ(scored.top_ids, sampled.top_ids);
    EXPECT_EQ(scored.top_logprobs, sampled.top_logprobs);
  }
}

TEST_P(TokenLogprobsTest, TiesRankByTheirIds) {
  EXPECT_EQ(Score({2, 7, 2, 7, 2, 7, 2, 7}, {2, 3}, 0).ranks, std::vector<int32_t>({4, 2}));
  EXPECT_EQ(Score({-0.0f, 0.0f, 0.0f, -0.0f}, {1, 0}, 0).ranks, std::vector<int32_t>({2, 1}));
  // More ties than a list of the GPU's holds.
  const Scored flat = Score(std::vector<float>(60000, -2), {20001, 29999}, 3);
  EXPECT_EQ(flat.ranks, std::vector<int32_t>({20002, 30000}));
  EXPECT_EQ(flat.top_ids, std::vector<int32_t>({0, 1, 2, 0, 1, 2}));
}

TEST_P(TokenLogprobsTest, CorruptRowsHaveNone) {
  for (const int32_t vocab : {1, 20, 16385, 50257}) {
    const std::vector<float> sound = RandomFloats(vocab, 9, 3);
    const float alone = Score(sound, {vocab / 4}, 2).logprobs[0];
    for (const float bad : {std::nanf(""), kInf, -kInf}) {
      for (const int32_t place : {0, vocab / 2, vocab - 1}) {
        SCOPED_TRACE(testing::Message() << vocab << " " << bad << " " << place);
        std::vector<float> both = sound;
        both.insert(both.end(), sound.begin(), sound.end());
        both[vocab + place] = bad;
        if (bad == -kInf) std::fill(both.begin() + vocab, both.end(), bad);
        const Scored s = Score(both, {vocab / 4, vocab / 4}, 2);
        EXPECT_EQ(s.logprobs[0], alone);
        EXPECT_TRUE(std::isnan(s.logprobs[1])) << s.logprobs[1];
      }
    }
  }
}

// Every so many tokens of vocabularies of many sizes, beside a row with the likeliest and one with
// none. Logits tie.
TEST_P(TokenLogprobsTest, AreTheAlternativesOfASampledToken) {
  for (const int32_t vocab : {1, 19, 1037, 16385, 50257, 151936}) {
    SCOPED_TRACE(vocab);
    std::vector<float> logits = RandomFloats(vocab, 7, 3);
    for (float& x : logits) x = std::round(x * 4) / 4;
    SamplingRow given = PlainRow(1.7f);
    given.biases = {{0, 1000}};  // of the draw, not of log probabilities
    for (int32_t i = 0; i < 128 && i < vocab; ++i) {
      given.logprob_ids.push_back(static_cast<int32_t>(int64_t{i} * vocab / std::min(vocab, 128)));
    }
    std::vector<int32_t> order = given.logprob_ids;
    std::ranges::stable_sort(order, std::greater<>(), [&](int32_t id) { return logits[id]; });
    order.resize(128, -1);
    SamplingRow likeliest = PlainRow(0);
    likeliest.settings.num_logprobs = 1;
    const SamplingCase on_host(*host_, {given}, logits, 0);
    const std::vector<double> want = reference::LogProbabilities(on_host.Params(), 0);
    const Sampled s = Sample(logits, {likeliest, given, PlainRow(0)}, 128);
    EXPECT_EQ(s.tokens[1], 0);
    for (int32_t i = 0; i < 128; ++i) {
      EXPECT_EQ(s.top_ids[128 + i], order[i]) << i;
      if (order[i] < 0) {
        EXPECT_EQ(s.top_logprobs[128 + i], -kInf);
      } else {
        EXPECT_NEAR(s.top_logprobs[128 + i], want[order[i]], 1e-5) << i;
      }
      EXPECT_EQ(s.top_ids[i], i == 0 ? s.tokens[0] : -1) << i;
      EXPECT_EQ(s.top_ids[256 + i], -1) << i;
    }
    EXPECT_EQ(s.top_logprobs[0], s.logprobs[0]);
  }
}

}  // namespace
}  // namespace tidal
