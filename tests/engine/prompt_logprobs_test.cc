// Log probabilities of a prompt's tokens: those of a forward pass over the text before each,
// however the prompt is cut into chunks and whoever runs beside it.
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/engine_harness.h"
#include "tests/support/test_backend.h"
#include "tests/support/tiny_model.h"

namespace tidal {
namespace {

constexpr int32_t kVocabSize = 101, kBlockSize = 16;

// By what other batches may change a log probability: on a CPU by nothing, elsewhere by what
// products of other sizes and other orders of a sum make of bf16 activations (0.05 on an H200).
float BatchRounding() { return BatchesAreBitwiseEqual() ? 0.0f : 0.1f; }

class PromptLogprobsTest : public ::testing::Test {
 protected:
  PromptLogprobsTest() : model_(Spec()), engine_(Load(8, 256)) {}

  static TinyModelSpec Spec() {
    TinyModelSpec spec;
    spec.tidal_json = R"({"pattern":"DDSRSR"})";
    return spec;
  }
  std::unique_ptr<ModelRunner> Load(int32_t max_num_seqs, int32_t max_num_batched_tokens) const {
    EngineConfig config;
    config.model_path = model_.path();
    config.kv_cache_bytes = 16 << 20;
    config.max_num_seqs = max_num_seqs;
    config.max_num_batched_tokens = max_num_batched_tokens;
    return LoadForTest(config);
  }

  static TestSequence SequenceOf(SequenceId id, int32_t size, int32_t num_logprobs) {
    std::vector<TokenId> prompt(size);
    for (int32_t i = 0; i < size; ++i) {
      prompt[i] = static_cast<TokenId>((i * i * 37 + 11 * id) % kVocabSize);
    }
    const auto first = static_cast<BlockId>(40 * (id - 1));
    TestSequence sequence(id, std::move(prompt), ConsecutiveBlocks(first, size + 32, kBlockSize));
    sequence.sampling.num_prompt_logprobs = num_logprobs;
    return sequence;
  }
  // A chunk that gives all it can.
  static ScheduledSequence Chunk(const TestSequence& sequence, int32_t count) {
    ScheduledSequence row = sequence.Prefill(count);
    const int32_t end = std::min(row.context_len() + 1, row.num_prompt_tokens);
    const int32_t first = row.num_computed_tokens + 1;
    if (end > first) row.prompt_logprobs = {first, end - first};
    return row;
  }
  static std::vector<PromptLogprob> Score(ModelRunner& engine, TestSequence sequence,
                                          int32_t chunk) {
    std::vector<PromptLogprob> logprobs;
    while (sequence.remaining() > 0) {
      const ScheduledSequence row = Chunk(sequence, std::min(chunk, sequence.remaining()));
      const auto output = engine.Execute({{row}});
      EXPECT_TRUE(output.ok()) << output.status();
      const SequenceOutput& out = output->sequences[0];
      EXPECT_EQ(out.prompt_logprobs.size(), row.prompt_logprobs.count);
      EXPECT_EQ(out.sampled.size(), row.num_wanted());
      logprobs.insert(logprobs.end(), out.prompt_logprobs.begin(), out.prompt_logprobs.end());
      sequence.num_computed_tokens += row.num_new_tokens;
    }
    return logprobs;
  }

  const TinyModel model_;
  std::unique_ptr<ModelRunner> engine_;
};

float LargestDifference(const std::vector<PromptLogprob>& a, const std::vector<PromptLogprob>& b) {
  EXPECT_EQ(a.size(), b.size());
  float largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    largest = std::max(largest, std::abs(a[i].logprob - b[i].logprob));
    EXPECT_EQ(a[i].top.size(), b[i].top.size());
  }
  return largest;
}

std::vector<double> LogSoftmax(const std::vector<float>& logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - max);
  std::vector<double> out;
  for (const float x : logits) out.push_back(x - max - std::log(sum));
  return out;
}

// A forward pass over the text before a token has that token's distribution as its last logits.
TEST_F(PromptLogprobsTest, AreThoseOfAForwardPassOverTheTextBefore) {
  const TestSequence sequence = SequenceOf(1, 40, 20);
  const std::vector<PromptLogprob> logprobs = Score(*engine_, sequence, 40);
  ASSERT_EQ(logprobs.size(), 39u);
  for (int32_t i = 1; i < 40; ++i) {
    TestSequence before = sequence;
    before.tokens.resize(i);
    before.num_prompt_tokens = i;
    const std::vector<float> logits = RunPrefill(*engine_, before, i);
    const std::vector<double> want = LogSoftmax(logits);
    const PromptLogprob& got = logprobs[i - 1];
    const double rounding = 2e-5 + BatchRounding();
    EXPECT_NEAR(got.logprob, want[sequence.tokens[i]], rounding);
    // Ranks count tokens that are likelier, so those of a neighbourhood bound it.
    const double mine = want[sequence.tokens[i]];
    const auto above = [&](double bound) {
      return std::count_if(want.begin(), want.end(), [&](double x) { return x > bound; });
    };
    EXPECT_GE(got.rank, 1 + above(mine + 2 * rounding));
    EXPECT_LE(got.rank, 1 + above(mine - 2 * rounding));
    ASSERT_EQ(got.top.size(), 20u);
    for (size_t j = 0; j < got.top.size(); ++j) {
      EXPECT_NEAR(got.top[j].logprob, want[got.top[j].id], rounding);
      EXPECT_LE(got.top[j].logprob, got.top[j > 0 ? j - 1 : 0].logprob);
      if (got.top[j].id == sequence.tokens[i]) {
        EXPECT_EQ(got.top[j].logprob, got.logprob);
        EXPECT_EQ(got.rank, static_cast<int32_t>(j + 1));
      }
    }
  }
}

TEST_F(PromptLogprobsTest, ChunksChangeNothingButRounding) {
  const TestSequence sequence = SequenceOf(1, 200, 3);
  const std::vector<PromptLogprob> whole = Score(*engine_, sequence, 200);
  for (const int32_t chunk : {1, 7, 16, 64, 128, 199}) {
    const std::vector<PromptLogprob> chunked = Score(*engine_, sequence, chunk);
    const float difference = LargestDifference(whole, chunked);
    EXPECT_LE(difference, BatchRounding()) << chunk;
    RecordProperty("chunks of " + std::to_string(chunk), std::to_string(difference));
  }
}

// So many rows that they need several tiles of logits; an engine for one sequence has tiles of 16.
TEST_F(PromptLogprobsTest, TilesChangeNothingButRounding) {
  ASSERT_LT(engine_->info().max_sampled_tokens, 199);
  const std::unique_ptr<ModelRunner> narrow = Load(1, 256);
  ASSERT_EQ(narrow->info().max_sampled_tokens, 16);
  const TestSequence sequence = SequenceOf(1, 200, 20);
  const std::vector<PromptLogprob> wide = Score(*engine_, sequence, 200);
  const float difference = LargestDifference(wide, Score(*narrow, sequence, 200));
  EXPECT_LE(difference, BatchRounding());
  RecordProperty("difference", std::to_string(difference));
}

// Several prompts in a step, of which some are scored, with different alternatives, beside a row
// that decodes sparsely and one that verifies.
TEST_F(PromptLogprobsTest, BatchMatesKeepTheirOwn) {
  TestSequence sparse = SequenceOf(1, 60, SamplingParams::kNoPromptLogprobs);
  sparse.attention = {AttentionMode::kTidal, 20, 0};
  TestSequence verified = SequenceOf(2, 30, SamplingParams::kNoPromptLogprobs);
  for (TestSequence* s : {&sparse, &verified}) {
    const auto output = engine_->Execute({{s->Prefill(s->remaining())}});
    ASSERT_TRUE(output.ok());
    s->num_computed_tokens = s->size();
    s->tokens.push_back(output->sequences[0].sampled[0].id);
  }
  const std::vector<TokenId> draft = {5, 6, 7};
  const TestSequence scored = SequenceOf(3, 50, 2), silent = SequenceOf(4, 20, -1),
                     more = SequenceOf(5, 33, 20), single = SequenceOf(6, 1, 0);
  const auto alone = [&](const ScheduledSequence& row) {
    const auto output = engine_->Execute({{row}});
    EXPECT_TRUE(output.ok());
    return output->sequences[0];
  };
  const std::vector<ScheduledSequence> rows = {Chunk(scored, 50),      sparse.Decode(),
                                               silent.Prefill(20),     Chunk(more, 33),
                                               verified.Verify(draft), Chunk(single, 1)};
  std::vector<SequenceOutput> lone;
  for (const ScheduledSequence& row : rows) lone.push_back(alone(row));
  const auto output = engine_->Execute({rows});
  ASSERT_TRUE(output.ok());
  for (size_t i = 0; i < rows.size(); ++i) {
    const SequenceOutput& got = output->sequences[i];
    EXPECT_EQ(got.ran_sparse, i == 1);
    EXPECT_LE(LargestDifference(got.prompt_logprobs, lone[i].prompt_logprobs), BatchRounding())
        << i;
    ASSERT_EQ(got.sampled.size(), lone[i].sampled.size());
    for (size_t j = 0; j < got.sampled.size(); ++j) {
      EXPECT_EQ(got.sampled[j].id, lone[i].sampled[j].id) << i;
      EXPECT_NEAR(got.sampled[j].logprob, lone[i].sampled[j].logprob, BatchRounding());
    }
  }
  EXPECT_EQ(output->sequences[0].prompt_logprobs.size(), 49u);
  EXPECT_EQ(output->sequences[0].prompt_logprobs[0].top.size(), 2u);
  EXPECT_EQ(output->sequences[3].prompt_logprobs[0].top.size(), 20u);
  EXPECT_TRUE(output->sequences[2].prompt_logprobs.empty());
  EXPECT_TRUE(output->sequences[5].prompt_logprobs.empty());
}

// Up to what another kernel's order of a sum makes of attention.
TEST_F(PromptLogprobsTest, AreThoseThatGeneratedTokensHad) {
  TestSequence sequence = SequenceOf(1, 30, 1);
  std::vector<SampledToken> said;
  for (int32_t i = 0; i < 20; ++i) {
    const auto row = i == 0 ? sequence.Prefill(30) : sequence.Decode();
    const auto output = engine_->Execute({{row}});
    ASSERT_TRUE(output.ok());
    said.push_back(output->sequences[0].sampled[0]);
    sequence.num_computed_tokens = sequence.size();
    sequence.tokens.push_back(said.back().id);
  }
  sequence.num_prompt_tokens = sequence.size();
  sequence.num_computed_tokens = 0;
  const std::vector<PromptLogprob> logprobs = Score(*engine_, sequence, 50);
  ASSERT_EQ(logprobs.size(), 49u);
  for (int32_t i = 0; i < 20; ++i) {
    const PromptLogprob& prompt = logprobs[29 + i];
    EXPECT_NEAR(prompt.logprob, said[i].logprob, 0.02);
    EXPECT_EQ(prompt.rank, 1) << "greedy";
    EXPECT_EQ(prompt.top[0].id, said[i].id);
    EXPECT_EQ(prompt.top[0].logprob, prompt.logprob) << "the same float";
  }
}

// Only those wanted: what a sequence gave before a preemption it does not give again.
TEST_F(PromptLogprobsTest, APartOfAChunkMayBeWanted) {
  const TestSequence sequence = SequenceOf(1, 40, 0);
  const std::vector<PromptLogprob> all = Score(*engine_, sequence, 40);
  ScheduledSequence row = sequence.Prefill(40);
  row.prompt_logprobs = {17, 5};
  const auto output = engine_->Execute({{row}});
  ASSERT_TRUE(output.ok());
  const std::vector<PromptLogprob>& part = output->sequences[0].prompt_logprobs;
  ASSERT_EQ(part.size(), 5u);
  for (int32_t i = 0; i < 5; ++i)
    EXPECT_NEAR(part[i].logprob, all[16 + i].logprob, BatchRounding());
  // Nothing is sampled, too, where the prompt is all.
  row.wanted = Wanted::kNone;
  const auto silent = engine_->Execute({{row}});
  ASSERT_TRUE(silent.ok());
  EXPECT_TRUE(silent->sequences[0].sampled.empty());
  EXPECT_EQ(silent->sequences[0].prompt_logprobs.size(), 5u);
}

}  // namespace
}  // namespace tidal
