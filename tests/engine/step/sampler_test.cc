#include "engine/step/sampler.h"

#include <cmath>
#include <memory>
#include <set>
#include <vector>

#include "engine/step/input_batch.h"
#include "engine/step/sequence_slots.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/support/test_sequence.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;

class SamplerTest : public ::testing::Test {
 protected:
  void Create(int32_t vocab_size, int32_t max_rows) {
    backend_ = MakeCpuBackend({});
    BackendLimits limits = {};
    limits.max_tokens = limits.max_decode_rows = limits.max_sampled_rows = max_rows;
    limits.max_context_len = 16;
    limits.num_heads = limits.num_kv_heads = 1;
    limits.head_dim = 16;
    limits.vocab_size = vocab_size;
    ASSERT_TRUE(backend_->Reserve(limits));
    MemoryPlan plan = {};
    plan.max_num_seqs = plan.max_sampled_tokens = max_rows;
    plan.max_model_len = plan.block_size = plan.max_num_batched_tokens = 1 << 20;
    plan.max_blocks_per_sequence = 1;
    slots_ = SequenceSlots::Create(plan, vocab_size, backend_.get()).value();
    batch_ = InputBatch::Create(plan, backend_.get()).value();
    sampler_ = Sampler::Create(plan, vocab_size, backend_.get()).value();
  }
  // One row of these logits a sequence, each in a slot of its own, the last one's the first.
  std::vector<SampledToken> Sample(const std::vector<TestSequence>& sequences,
                                   const std::vector<float>& logits) {
    StepInput input;
    std::vector<float> all;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const TestSequence& sequence = sequences[i];
      input.sequences.push_back(sequence.Prefill(sequence.remaining()));
      input.sequences.back().id = i + 1;
      input.sequences.back().slot = static_cast<int32_t>(sequences.size() - 1 - i);
      all.insert(all.end(), logits.begin(), logits.end());
    }
    void* device = backend_->Allocate(all.size() * sizeof(float));
    backend_->CopyToDevice(device, all.data(), all.size() * sizeof(float));
    const Batch& batch = batch_.Pack(input, {}, &slots_);
    sampler_.CountRows(input);
    sampler_.Sample(batch_.logit_order(), batch, slots_, static_cast<float*>(device));
    const SampledRows sampled = sampler_.CopyOut();
    EXPECT_EQ(backend_->Synchronize(), "");
    backend_->Free(device);
    return sampled.Tokens();
  }
  TokenId SampleOne(const TestSequence& sequence, const std::vector<float>& logits) {
    return Sample({sequence}, logits)[0].id;
  }

  std::unique_ptr<Backend> backend_;
  SequenceSlots slots_;
  InputBatch batch_;
  Sampler sampler_;
};

// A prompt {1} and an output {2, 2}.
TestSequence PromptAndOutput() {
  TestSequence sequence(1, {1}, {0});
  sequence.tokens = {1, 2, 2};
  return sequence;
}

TEST_F(SamplerTest, GreedyTakesTheLargestAndTheLowerOfTwo) {
  Create(4, 4);
  EXPECT_EQ(SampleOne(PromptAndOutput(), {0, 1, 3, 2}), 2);
  EXPECT_EQ(SampleOne(PromptAndOutput(), {0, 3, 1, 3}), 1);
}

TEST_F(SamplerTest, PenaltiesCountPromptAndOutputAsTheyShould) {
  Create(4, 4);
  const std::vector<float> logits = {0, 2, 2.5f, 1.9f};
  TestSequence sequence = PromptAndOutput();
  EXPECT_EQ(SampleOne(sequence, logits), 2);
  sequence.sampling.presence_penalty = 0.55f;  // the output only, once
  EXPECT_EQ(SampleOne(sequence, logits), 1);
  sequence.sampling.presence_penalty = 0.45f;
  EXPECT_EQ(SampleOne(sequence, logits), 2);
  sequence.sampling.presence_penalty = 0;
  sequence.sampling.frequency_penalty = 0.27f;  // the output only, twice
  EXPECT_EQ(SampleOne(sequence, logits), 1);
  sequence.sampling.frequency_penalty = 0.23f;
  EXPECT_EQ(SampleOne(sequence, logits), 2);
  sequence.sampling.frequency_penalty = 0;
  sequence.sampling.repetition_penalty = 1.5f;  // prompt and output
  EXPECT_EQ(SampleOne(sequence, logits), 3);
}

TEST_F(SamplerTest, LogitBiasIsAddedOnTheRightToken) {
  Create(4, 4);
  TestSequence sequence = PromptAndOutput();
  sequence.sampling.logit_bias = {{0, 5}, {2, -100}};
  EXPECT_EQ(SampleOne(sequence, {0, 2, 9, 1}), 0);
}

TEST_F(SamplerTest, RowsKeepTheirOwnParameters) {
  Create(4, 4);
  std::vector<TestSequence> sequences(3, PromptAndOutput());
  sequences[0].sampling.logit_bias = {{3, 10}};
  sequences[2].sampling.repetition_penalty = 2;
  const auto tokens = Sample(sequences, {1, 2, 3, 1.7f});
  EXPECT_EQ(tokens[0].id, 3);
  EXPECT_EQ(tokens[1].id, 2);
  EXPECT_EQ(tokens[2].id, 3);
}

TEST_F(SamplerTest, LogprobsAreOfTheRawDistribution) {
  Create(4, 4);
  std::vector<TestSequence> sequences(2, PromptAndOutput());
  sequences[0].sampling.num_logprobs = 20;  // more than there are tokens
  sequences[1].sampling.num_logprobs = 1;
  for (TestSequence& sequence : sequences) sequence.sampling.logit_bias = {{0, 50}};
  const std::vector<float> logits = {std::log(1.0f), std::log(2.0f), std::log(4.0f),
                                     std::log(1.0f)};
  const auto tokens = Sample(sequences, logits);
  EXPECT_EQ(tokens[0].id, 0);
  EXPECT_NEAR(tokens[0].logprob, std::log(1 / 8.0), 1e-5);
  ASSERT_EQ(tokens[0].top.size(), 4u);
  const std::vector<TokenId> best = {2, 1, 0, 3};
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(tokens[0].top[i].id, best[i]);
  EXPECT_NEAR(tokens[0].top[0].logprob, std::log(0.5), 1e-5);
  ASSERT_EQ(tokens[1].top.size(), 1u);
  EXPECT_EQ(tokens[1].top[0].id, 2);
}

TEST_F(SamplerTest, GivenTokensAreTheAlternatives) {
  Create(4, 4);
  std::vector<TestSequence> sequences(3, PromptAndOutput());
  sequences[0].sampling.num_logprobs = 1;
  sequences[1].sampling.num_logprobs = 2;
  sequences[1].sampling.logprob_token_ids = {0, 1, 3};
  const std::vector<float> logits = {std::log(1.0f), std::log(2.0f), std::log(4.0f),
                                     std::log(1.0f)};
  const auto tokens = Sample(sequences, logits);
  ASSERT_EQ(tokens[0].top.size(), 1u);
  EXPECT_EQ(tokens[0].top[0].id, 2);
  ASSERT_EQ(tokens[1].top.size(), 3u);
  EXPECT_EQ(tokens[1].id, 2) << "whatever is given";
  const std::vector<TokenId> best = {1, 0, 3};
  const std::vector<double> shares = {0.25, 0.125, 0.125};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(tokens[1].top[i].id, best[i]);
    EXPECT_NEAR(tokens[1].top[i].logprob, std::log(shares[i]), 1e-5);
  }
  EXPECT_TRUE(tokens[2].top.empty());
  // Nobody's next: what the slot held is forgotten.
  EXPECT_TRUE(Sample({PromptAndOutput()}, logits)[0].top.empty());
}

TEST_F(SamplerTest, ASeedRepeatsWhateverTheBatchAndMovesWithTheOutput) {
  Create(50, 4);
  const std::vector<float> logits(50, 0);
  TestSequence sequence = PromptAndOutput();
  sequence.sampling.temperature = 1;
  sequence.sampling.seed = 42;
  const TokenId alone = SampleOne(sequence, logits);
  TestSequence other = sequence;
  other.sampling.seed = 43;
  EXPECT_EQ(Sample({other, sequence, other}, logits)[1].id, alone);
  // Uniform over 50 tokens: 30 draws of one token each would be a miracle.
  std::set<TokenId> seen;
  for (int i = 0; i < 30; ++i) {
    seen.insert(SampleOne(sequence, logits));
    sequence.tokens.push_back(0);
  }
  EXPECT_GT(seen.size(), 10u);
}

TEST_F(SamplerTest, TopKMinusOneAndBeyondTheVocabularyAreOff) {
  Create(8, 4);
  std::set<TokenId> seen;
  TestSequence sequence = PromptAndOutput();
  sequence.sampling.temperature = 1;
  for (int i = 0; i < 200; ++i) {
    sequence.sampling.top_k = i % 2 ? -1 : 1000;
    sequence.sampling.seed = static_cast<uint64_t>(i);
    seen.insert(SampleOne(sequence, std::vector<float>(8, 0)));
  }
  EXPECT_EQ(seen.size(), 8u);
}

TEST_F(SamplerTest, PenaltiesOfAWholeVocabulary) {
  const int32_t vocab = 100000;
  Create(vocab, 8);
  TestSequence heavy(1, {}, {0});
  for (TokenId token = 0; token < vocab - 1; ++token) heavy.tokens.push_back(token);
  heavy.num_prompt_tokens = heavy.size();
  heavy.sampling.repetition_penalty = 2;
  std::vector<float> logits(vocab, 3);
  logits[vocab - 1] = 2;  // the only token without a penalty
  const TestSequence light = PromptAndOutput();
  const auto tokens = Sample({heavy, light, heavy}, logits);
  std::vector<TokenId> ids;
  for (const SampledToken& token : tokens) ids.push_back(token.id);
  EXPECT_THAT(ids, ElementsAre(vocab - 1, 0, vocab - 1));
}

TEST_F(SamplerTest, BannedTokensMayComeAfterMinTokens) {
  Create(8, 4);
  TestSequence sequence = PromptAndOutput();  // two tokens of output
  sequence.sampling.banned_tokens = {5, 6};
  sequence.sampling.logit_bias = {{5, 3}};
  const std::vector<float> logits = {0, 1, 0, 0, 0, 9, 8, 0};
  sequence.sampling.min_tokens = 3;
  EXPECT_EQ(SampleOne(sequence, logits), 1);
  sequence.sampling.min_tokens = 2;
  EXPECT_EQ(SampleOne(sequence, logits), 5);
}

TEST_F(SamplerTest, SlotsHoldTheLastToken) {
  Create(8, 4);
  std::vector<TestSequence> sequences(2, PromptAndOutput());
  sequences[0].sampling.logit_bias = {{3, 10}};
  Sample(sequences, {0, 1, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(slots_.last_tokens()[1], 3);
  EXPECT_EQ(slots_.last_tokens()[0], 1);
}

// Rows that want a token, in the parts that they are sampled in, from sequences that may not.
TEST_F(SamplerTest, MasksAreOfTheStepsSequencesInWhateverPartsTheyRun) {
  constexpr int32_t kVocab = 70;
  Create(kVocab, 4);
  std::vector<TestSequence> sequences(4, PromptAndOutput());
  StepInput input;
  for (int32_t i = 0; i < 4; ++i) {
    sequences[i].slot = i;
    input.sequences.push_back(sequences[i].Prefill(i == 1 ? 2 : 3));  // the second wants none
    input.sequences.back().id = i + 1;
  }
  std::vector<float> logits(4 * kVocab, 0);
  void* device = backend_->Allocate(logits.size() * sizeof(float));
  const auto sample = [&](const StepInput& part, int32_t first) {
    backend_->CopyToDevice(device, logits.data(), logits.size() * sizeof(float));
    const Batch& batch = batch_.Pack(part, {}, &slots_);
    sampler_.Sample(batch_.logit_order(), batch, slots_, static_cast<float*>(device), first);
  };
  StepMasks masks;
  masks.of_sequences = {1, StepMasks::kNoMask, StepMasks::kNoMask, 0};
  masks.words = {0, 0, 1u << 5, 0, 1u << 1, 0};  // token 69, token 33
  const auto run = [&](bool in_parts) {
    sampler_.CountRows(input);
    sampler_.TakeMasks(masks);
    const auto middle = input.sequences.begin() + 2;
    if (in_parts) {
      sample({{input.sequences.begin(), middle}}, 0);
      sample({{middle, input.sequences.end()}}, 2);
    } else {
      sample(input, 0);
    }
    const SampledRows rows = sampler_.CopyOut();
    EXPECT_EQ(backend_->Synchronize(), "");
    std::vector<TokenId> ids;
    for (const SampledToken& token : rows.Tokens()) ids.push_back(token.id);
    return ids;
  };
  EXPECT_THAT(run(/*in_parts=*/false), ElementsAre(33, 0, 69));
  EXPECT_THAT(run(/*in_parts=*/true), ElementsAre(33, 0, 69));

  // The next step has none.
  sampler_.CountRows(input);
  sample(input, 0);
  const SampledRows rows = sampler_.CopyOut();
  EXPECT_EQ(backend_->Synchronize(), "");
  for (const SampledToken& token : rows.Tokens()) EXPECT_EQ(token.id, 0);
  backend_->Free(device);
}

TEST_F(SamplerTest, AsManyMasksAsSequences) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Create(33, 2);
  TestSequence sequence = PromptAndOutput();
  sampler_.CountRows({{sequence.Prefill(3)}});
  sampler_.TakeMasks({{1}, {0, 0, 1, 0}});
  EXPECT_DEATH(sampler_.TakeMasks({{0}, {1, 0, 1, 0, 1, 0}}), "CHECK failed") << "three";
  EXPECT_DEATH(sampler_.TakeMasks({{0}, {1, 0, 1}}), "CHECK failed") << "one and a half";
  EXPECT_DEATH(sampler_.TakeMasks({{2}, {1, 0, 1, 0}}), "CHECK failed") << "of two";
}

TEST_F(SamplerTest, NoRowsIsFine) {
  Create(4, 4);
  EXPECT_TRUE(Sample({}, {}).empty());
}

}  // namespace
}  // namespace tidal
