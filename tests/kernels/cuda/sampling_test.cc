// What both back ends are to choose; tests/kernels/sampling_test.cc says the rest.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "tests/kernels/cpu_backend_fixture.h"
#include "tests/kernels/sampling_case.h"

namespace tidal {
namespace {

class CudaSamplingTest : public SamplingFixture {
 protected:
  // The same tokens as the CPU's, but for draws where rounding decides: of these `most` are
  // excused.
  void ExpectLikeCpu(const std::vector<SamplingRow>& rows, const std::vector<float>& logits,
                     int32_t max_logprobs, int32_t most) {
    const auto vocab = static_cast<int32_t>(logits.size() / rows.size());
    const Sampled got = SamplingCase(*backend_, rows, logits, max_logprobs).Sample();
    const Sampled want = SamplingCase(*host_, rows, logits, max_logprobs).Sample();
    int32_t different = 0;
    for (size_t i = 0; i < want.tokens.size(); ++i) {
      ASSERT_GE(got.tokens[i], 0);
      ASSERT_LT(got.tokens[i], vocab);
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
    for (size_t i = 0; i < want.top_ids.size(); ++i) {
      ASSERT_EQ(got.top_ids[i], want.top_ids[i]) << i / max_logprobs << " " << i;
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
};
TIDAL_INSTANTIATE_FOR_EVERY_BACKEND(CudaSamplingTest);

// Rows of every kind over vocabularies that take one, two, four and eight blocks, odd ones among
// them: the same tokens as on the CPU.
TEST_P(CudaSamplingTest, ChoosesTheTokensOfTheCpuBackend) {
  std::mt19937 random(17);
  const auto pick = [&](const auto& choices) {
    return *(choices.begin() + random() % choices.size());
  };
  for (const int32_t vocab : {5, 1000, 2049, 16384, 16385, 50257, 128256, 151936}) {
    // Values on a coarse grid tie; spread ones fall off slowly or fast.
    for (const float grid : {0.0f, 0.25f}) {
      std::vector<SamplingRow> rows;
      std::vector<float> all_logits;
      for (int32_t i = 0; i < 40; ++i) {
        auto logits = RandomFloats(vocab, static_cast<uint32_t>(random()),
                                   pick(std::vector<float>{0.01f, 1, 3, 8}));
        for (float& x : logits) {
          if (grid > 0) x = std::round(x / grid) * grid;
          if (random() % 500 == 0) x = -kInf;
          if (i % 4 == 3 && random() % 500 == 0) x = NAN;
        }
        all_logits.insert(all_logits.end(), logits.begin(), logits.end());
        SamplingRow row = PlainRow(pick(std::vector<float>{0, 0.3f, 1, 1, 2}));
        row.settings.top_k = pick(std::vector<int32_t>{0, 0, 1, 50, 2048, 3000, 20000});
        row.settings.top_k = std::min(row.settings.top_k, vocab);
        row.settings.top_p = pick(std::vector<float>{1, 1, 0.1f, 0.9f, 0.999f});
        row.settings.min_p = pick(std::vector<float>{0, 0, 0.001f, 0.1f});
        row.settings.num_logprobs = pick(std::vector<int32_t>{0, 1, 5, 20});
        if (i % 5 == 0) {
          for (int32_t id = i; id < vocab && row.logprob_ids.size() < 20; id += vocab / 25 + 1) {
            row.logprob_ids.push_back(id);
          }
        }
        row.settings.seed = random();
        row.generated = static_cast<int32_t>(random() % 100);
        if (i % 3 == 0) {
          row.settings.repetition_penalty = pick(std::vector<float>{1, 1.2f, 0.8f});
          row.settings.frequency_penalty = pick(std::vector<float>{0, 0.5f, -0.5f});
          row.settings.presence_penalty = pick(std::vector<float>{0, 1});
          for (int32_t id = static_cast<int32_t>(random() % 7); id < vocab; id += 7) {
            row.counts.push_back({id, {static_cast<uint16_t>(random() % 4)}});
            if (random() % 2 == 0) row.counts.back().count = row.counts.back().count.AfterPrompt();
          }
        }
        if (i % 4 == 0) {
          for (int32_t j = 0; j < 300; ++j) {
            const auto id = static_cast<int32_t>(random() % vocab);
            const float bias = static_cast<float>(random() % 9) - 4;
            row.biases.push_back({id, j % 50 == 0 ? -kInf : bias});
          }
          row.bans = {row.biases[7].token, static_cast<int32_t>(random() % vocab)};
          row.settings.min_tokens = 50;
        }
        rows.push_back(row);
      }
      SCOPED_TRACE(testing::Message() << "vocab " << vocab << " grid " << grid);
      ExpectLikeCpu(rows, all_logits, 20, 1);
    }
  }
}

}  // namespace
}  // namespace tidal
