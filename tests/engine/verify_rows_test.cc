// Verify rows: the newest token and a draft of what may follow it in one dense, causal row, with a
// token sampled after each. Whatever the draft, the tokens are those of the text alone.
#include <cmath>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/engine_harness.h"
#include "tests/support/test_backend.h"
#include "tests/support/tiny_model.h"

namespace tidal {
namespace {

constexpr int32_t kVocabSize = 101, kBlockSize = 16;

class VerifyRowsTest : public ::testing::Test {
 protected:
  VerifyRowsTest() : model_(Spec()), engine_(LoadForTest(Config())) {}

  static TinyModelSpec Spec() {
    TinyModelSpec spec;
    spec.tidal_json = R"({"pattern":"DDSRSR"})";
    return spec;
  }
  EngineConfig Config() const {
    EngineConfig config;
    config.model_path = model_.path();
    config.kv_cache_bytes = 16 << 20;
    config.max_num_seqs = 8;
    config.max_num_batched_tokens = 256;
    return config;
  }

  static TestSequence SequenceOf(SequenceId id, int32_t size) {
    std::vector<TokenId> prompt(size);
    for (int32_t i = 0; i < size; ++i) {
      prompt[i] = static_cast<TokenId>((i * 37 + 11 * id) % kVocabSize);
    }
    const auto first = static_cast<BlockId>(40 * (id - 1));
    return TestSequence(id, std::move(prompt), ConsecutiveBlocks(first, 400, kBlockSize));
  }

  // One step; every sequence goes on by what it is given, a verified one by what is accepted.
  StepOutput Step(const std::vector<TestSequence*>& sequences, StepInput input) {
    auto output = engine_->Execute(input);
    EXPECT_TRUE(output.ok()) << output.status();
    for (size_t i = 0; i < sequences.size(); ++i) {
      TestSequence& s = *sequences[i];
      const ScheduledSequence& row = input.sequences[i];
      const auto& sampled = output->sequences[i].sampled;
      const int32_t accepted = NumAccepted(sampled, row.draft);
      s.num_computed_tokens += row.num_new_tokens - static_cast<int32_t>(sampled.size()) + accepted;
      for (int32_t j = 0; j < accepted; ++j) s.tokens.push_back(sampled[j].id);
    }
    return *std::move(output);
  }
  // A sequence whose prompt has run, with its first token.
  TestSequence Begin(SequenceId id, int32_t size, const SamplingParams& sampling) {
    TestSequence sequence = SequenceOf(id, size);
    sequence.sampling = sampling;
    Step({&sequence}, {{sequence.Prefill(size)}});
    return sequence;
  }
  // What follows, one decode row after the other; `sequence` is as it was.
  std::vector<TokenId> Decoded(TestSequence sequence, int32_t count) {
    for (int32_t i = 0; i < count; ++i) Step({&sequence}, {{sequence.Decode()}});
    return {sequence.tokens.end() - count, sequence.tokens.end()};
  }

  const TinyModel model_;
  std::unique_ptr<ModelRunner> engine_;
};

std::vector<SamplingParams> ManySamplings() {
  SamplingParams greedy = GreedySampling(), drawn, penalised, biased;
  drawn.seed = 7;
  penalised.seed = 8;
  penalised.repetition_penalty = 1.3f;
  penalised.frequency_penalty = 0.4f;
  biased.seed = 9;
  biased.logit_bias = {{5, 2}, {9, -100}};
  biased.min_tokens = 6;
  biased.banned_tokens = {1, 2, 3};
  biased.num_logprobs = 3;
  return {greedy, drawn, penalised, biased};
}

// Right for a number of tokens, then wrong.
TEST_F(VerifyRowsTest, GiveTheTextsOwnTokensWhateverTheDraft) {
  for (const SamplingParams& sampling : ManySamplings()) {
    for (const int32_t size : {1, 4, 15}) {
      for (int32_t right = 0; right <= size; right += size > 4 ? 3 : 1) {
        TestSequence sequence = Begin(1, 45, sampling);
        const std::vector<TokenId> text = Decoded(sequence, 20);
        std::vector<TokenId> draft(text.begin(), text.begin() + size);
        for (int32_t i = right; i < size; ++i) draft[i] = (text[i] + 1) % kVocabSize;
        const std::vector<TokenId> before = sequence.tokens;

        const StepOutput output = Step({&sequence}, {{sequence.Verify(draft)}});
        EXPECT_EQ(output.sequences[0].sampled.size(), size + 1);
        EXPECT_FALSE(output.sequences[0].ran_sparse);
        EXPECT_EQ(output.stats.verify_tokens, size + 1);
        EXPECT_EQ(output.stats.prefill_tokens, 0);
        EXPECT_EQ(output.stats.decode_rows, 0);
        ASSERT_EQ(sequence.size(), before.size() + right + 1);
        // What follows reads K and V of the accepted tokens and writes over those of the others,
        // and counts penalties from the slot.
        for (int32_t i = 0; i < 3; ++i) {
          ScheduledSequence row = sequence.Decode();
          row.new_in_slot = false;
          Step({&sequence}, {{row}});
        }
        const std::vector<TokenId> got(sequence.tokens.begin() + before.size(),
                                       sequence.tokens.end());
        EXPECT_EQ(got, std::vector<TokenId>(text.begin(), text.begin() + right + 4))
            << "a draft of " << size << ", " << right << " of them right";
      }
    }
  }
}

// The same numbers, not only the same tokens: a verify row is a chunk.
TEST_F(VerifyRowsTest, ComputeWhatAChunkComputes) {
  TestSequence sequence = SequenceOf(1, 60), whole = SequenceOf(2, 60);
  whole.tokens = sequence.tokens;
  Step({&whole}, {{whole.Prefill(60)}});
  TestSequence text = sequence;
  text.tokens.resize(50);
  text.num_prompt_tokens = 50;
  Step({&text}, {{text.Prefill(49)}});
  const std::vector<TokenId> draft(sequence.tokens.begin() + 50, sequence.tokens.end());
  const auto output = engine_->Execute({{text.Verify(draft)}});
  ASSERT_TRUE(output.ok());
  const SampledToken& last = output->sequences[0].sampled.back();
  TestSequence again = whole;
  again.num_computed_tokens = 59;
  again.tokens.resize(60);
  const auto expected = engine_->Execute({{again.Prefill(1)}});
  ASSERT_TRUE(expected.ok());
  EXPECT_EQ(last.id, expected->sequences[0].sampled[0].id);
  EXPECT_NEAR(last.logprob, expected->sequences[0].sampled[0].logprob,
              BatchesAreBitwiseEqual() ? 0 : 0.05);
  for (const char part : {'k', 'v'}) {
    const std::vector<float> got = ReadKv(*engine_, text, part, 5, 1, 60);
    const std::vector<float> want = ReadKv(*engine_, whole, part, 5, 1, 60);
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], want[i], BatchesAreBitwiseEqual() ? 0 : 0.05) << part << i;
    }
  }
}

// Sparse and dense decode rows, a prompt chunk and verify rows of several lengths in one step.
TEST_F(VerifyRowsTest, DoNotDependOnTheirBatch) {
  if (!BatchesAreBitwiseEqual()) GTEST_SKIP() << "on this device last bits depend on the batch";
  SamplingParams drawn;
  drawn.seed = 3;
  std::vector<TestSequence> sequences;
  for (const int32_t size : {70, 20, 33, 16, 31}) {
    sequences.push_back(Begin(sequences.size() + 1, size, drawn));
  }
  sequences[0].attention = {AttentionMode::kTidal, 16, 0};
  sequences[3].attention = {AttentionMode::kTidal, 8, 0};  // dense in verification
  const std::vector<TokenId> drafts[] = {
      {}, {}, Decoded(sequences[2], 6), Decoded(sequences[3], 15), {0}};
  TestSequence prompt = SequenceOf(6, 40);
  const auto rows = [&] {
    std::vector<ScheduledSequence> all = {sequences[0].Decode(), sequences[2].Verify(drafts[2]),
                                          prompt.Prefill(30),    sequences[3].Verify(drafts[3]),
                                          sequences[1].Decode(), sequences[4].Verify(drafts[4])};
    return all;
  };
  std::vector<SequenceOutput> alone;
  for (const ScheduledSequence& row : rows()) {
    auto output = engine_->Execute({{row}});
    ASSERT_TRUE(output.ok());
    alone.push_back(output->sequences[0]);
  }
  const auto together = engine_->Execute({rows()});
  ASSERT_TRUE(together.ok());
  EXPECT_EQ(together->stats.verify_tokens, 7 + 16 + 2);
  EXPECT_EQ(together->stats.prefill_tokens, 30);
  EXPECT_EQ(together->stats.decode_rows, 2);
  EXPECT_EQ(together->stats.sparse_rows, 1);
  for (size_t i = 0; i < alone.size(); ++i) {
    ASSERT_EQ(together->sequences[i].sampled.size(), alone[i].sampled.size());
    for (size_t j = 0; j < alone[i].sampled.size(); ++j) {
      EXPECT_EQ(together->sequences[i].sampled[j].id, alone[i].sampled[j].id) << i << ' ' << j;
      EXPECT_EQ(together->sequences[i].sampled[j].logprob, alone[i].sampled[j].logprob);
    }
  }
}

TEST_F(VerifyRowsTest, ASlotGoesOnFromTheLastAcceptedToken) {
  TestSequence sequence = Begin(1, 20, GreedySampling());
  const std::vector<TokenId> text = Decoded(sequence, 5);
  const std::vector<TokenId> draft = {text[0], text[1], (text[2] + 1) % kVocabSize, text[3]};
  TestSequence ahead = sequence;
  engine_->Launch({{sequence.Verify(draft)}});
  // Launched before the result is known, as a round would be that knows how many are accepted.
  ahead.tokens.insert(ahead.tokens.end(), text.begin(), text.begin() + 2);
  ahead.num_computed_tokens = ahead.size();
  ScheduledSequence row = ahead.Decode();
  row.new_in_slot = false;
  row.num_pending_tokens = 1;
  row.wanted = Wanted::kLastToken;
  engine_->Launch({{row}});
  ASSERT_TRUE(engine_->Collect().ok());
  const auto next = engine_->Collect();
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->sequences[0].sampled[0].id, text[3]);
}

TEST(VerifyRowsDeathTest, BrokenPromisesOfTheSchedulerAbort) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  TinyModelSpec spec;
  const TinyModel model(spec);
  EngineConfig config;
  config.model_path = model.path();
  config.kv_cache_bytes = 16 << 20;
  config.max_num_seqs = 2;
  config.max_num_batched_tokens = 256;
  auto engine = LoadForTest(config);
  TestSequence sequence(1, {1, 2, 3, 4}, ConsecutiveBlocks(0, 100, kBlockSize));
  ASSERT_TRUE(engine->Execute({{sequence.Prefill(3)}}).ok());
  sequence.num_computed_tokens = 3;
  const std::vector<TokenId> draft = {5, 6}, outside = {5, 101}, long_draft(16, 5);
  const auto run = [&](auto change) {
    StepInput input = {{sequence.Verify(draft)}};
    change(input.sequences[0]);
    (void)engine->Execute(input);
  };
  EXPECT_DEATH(run([](auto& s) { s.num_new_tokens = 2; }), "CHECK failed");
  EXPECT_DEATH(run([](auto& s) { s.wanted = Wanted::kLastToken; }), "CHECK failed");
  EXPECT_DEATH(run([](auto& s) { s.kind = RowKind::kPrefill; }), "CHECK failed");
  EXPECT_DEATH(run([&](auto& s) { s.draft = outside; }), "CHECK failed");
  EXPECT_DEATH(run([&](auto& s) {
                 s.draft = long_draft;
                 s.num_new_tokens = 17;
               }),
               "CHECK failed");
}

}  // namespace
}  // namespace tidal
