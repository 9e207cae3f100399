// Steps whose tokens are sampled under masks: the best token that is allowed, whatever runs beside
// it, and the same logits as without.
#include <algorithm>
#include <limits>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/engine_harness.h"
#include "tests/support/forwarding_backend.h"
#include "tests/support/test_backend.h"
#include "tests/support/tiny_model.h"

namespace tidal {
namespace {

constexpr int32_t kVocabSize = 101, kBlockSize = 16;

// Masks of a step's sequences, in the order of `allowed`; an empty set: no mask.
StepMasks MasksOf(const std::vector<std::set<TokenId>>& allowed, int32_t vocab_size) {
  const size_t num_words = (vocab_size + 31) / 32;
  StepMasks masks;
  for (const std::set<TokenId>& tokens : allowed) {
    if (tokens.empty()) {
      masks.of_sequences.push_back(StepMasks::kNoMask);
      continue;
    }
    const size_t begin = masks.words.size();
    masks.of_sequences.push_back(static_cast<int32_t>(begin / num_words));
    masks.words.resize(begin + num_words);
    for (const TokenId token : tokens) masks.words[begin + token / 32] |= 1u << (token % 32);
  }
  return masks;
}

TokenId BestOf(const std::vector<float>& logits, const std::set<TokenId>& allowed) {
  return *std::max_element(allowed.begin(), allowed.end(), [&](TokenId a, TokenId b) {
    return logits[a] < logits[b] || (logits[a] == logits[b] && a > b);
  });
}

// `count` tokens of which none is among the best.
std::set<TokenId> SomeAllowed(const std::vector<float>& logits, int32_t count) {
  std::vector<TokenId> tokens(logits.size());
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<TokenId>(i);
  std::sort(tokens.begin(), tokens.end(),
            [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
  std::set<TokenId> allowed;
  const size_t stride = (tokens.size() - 5) / count;
  for (int32_t i = 0; i < count; ++i) allowed.insert(tokens[5 + i * stride]);
  return allowed;
}

TEST(MaskedNanoTest, GivesTheBestTokenThatIsAllowed) {
  EngineConfig config;
  config.model_path = "models/tidal-nano";
  config.kv_cache_bytes = 32 << 20;
  config.max_model_len = 256;
  config.max_num_seqs = 4;
  config.max_num_batched_tokens = 128;
  const auto engine = LoadForTest(config);
  const int32_t vocab = engine->info().vocab_size;
  std::vector<TokenId> prompt(40);
  for (int32_t i = 0; i < 40; ++i) prompt[i] = (i * 131 + 7) % vocab;
  TestSequence sequence(1, prompt, ConsecutiveBlocks(0, 256, engine->info().block_size));
  TestSequence traced = sequence;
  std::vector<float> logits = RunPrefill(*engine, traced, 128);
  for (int32_t step = 0; step < 6; ++step) {
    StepInput input = {{step == 0 ? sequence.Prefill(40) : sequence.Decode()}};
    input.sequences[0].masked = true;
    for (const std::set<TokenId>& allowed :
         {SomeAllowed(logits, 50), std::set<TokenId>{vocab - 1}, SomeAllowed(logits, 2)}) {
      const auto output = engine->Execute(input, MasksOf({allowed}, vocab));
      ASSERT_TRUE(output.ok()) << output.status();
      const SampledToken& token = output->sequences[0].sampled.at(0);
      EXPECT_EQ(token.id, BestOf(logits, allowed));
      EXPECT_LT(token.logprob, 0);
    }
    // A mask of all tokens is none.
    std::set<TokenId> all;
    for (TokenId token = 0; token < vocab; ++token) all.insert(token);
    const auto output = engine->Execute(input, MasksOf({all}, vocab));
    ASSERT_TRUE(output.ok()) << output.status();
    EXPECT_EQ(output->sequences[0].sampled[0].id, ArgMax(logits));

    sequence.num_computed_tokens = sequence.size();
    sequence.tokens.push_back(BestOf(logits, SomeAllowed(logits, 50)));
    logits = RunDecode(*engine, traced, sequence.tokens.back()).logits;
  }
}

class MaskedStepsTest : public ::testing::Test {
 protected:
  MaskedStepsTest() : model_(Spec()), engine_(LoadForTest(Config())) {
    for (SequenceId id = 1; id <= 5; ++id) {
      TestSequence& s = sequences_.emplace_back(SequenceOf(id, 20 + 9 * static_cast<int32_t>(id)));
      s.sampling.num_logprobs = static_cast<int32_t>(id) - 1;
      if (id % 2 == 0) {
        s.sampling.temperature = 1;
        s.sampling.seed = id;
      }
      EXPECT_TRUE(engine_->Execute({{s.Prefill(s.size() - 1)}}).ok());
      s.num_computed_tokens = s.size() - 1;
    }
    sequences_[2].attention = {AttentionMode::kTidal, 16, 0};
  }

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
    const auto first = static_cast<BlockId>(20 * (id - 1));
    return TestSequence(id, std::move(prompt), ConsecutiveBlocks(first, 200, kBlockSize));
  }
  // Rows of every kind: decoding densely and sparsely, the end of a prompt, its beginning, with log
  // probabilities, a draft.
  StepInput AllKinds() {
    StepInput input = {{sequences_[0].Decode(), sequences_[3].Verify(draft_),
                        sequences_[2].Decode(), sequences_[4].Prefill(1), sequences_[1].Decode(),
                        prompt_.Prefill(10)}};
    prompt_.sampling.num_prompt_logprobs = 2;
    input.sequences.back().prompt_logprobs = {.first = 1, .count = 9};
    return input;
  }
  StepOutput Execute(const StepInput& input, const StepMasks& masks = {}) {
    auto output = engine_->Execute(input, masks);
    EXPECT_TRUE(output.ok()) << output.status();
    return output.ok() ? *std::move(output) : StepOutput();
  }
  static void ExpectEqual(const SequenceOutput& a, const SequenceOutput& b) {
    ASSERT_EQ(a.sampled.size(), b.sampled.size());
    EXPECT_EQ(a.ran_sparse, b.ran_sparse);
    for (size_t i = 0; i < a.sampled.size(); ++i) {
      EXPECT_EQ(a.sampled[i].id, b.sampled[i].id);
      EXPECT_EQ(a.sampled[i].logprob, b.sampled[i].logprob);
      ExpectEqualTops(a.sampled[i], b.sampled[i]);
    }
    ASSERT_EQ(a.prompt_logprobs.size(), b.prompt_logprobs.size());
    for (size_t i = 0; i < a.prompt_logprobs.size(); ++i) {
      ExpectEqual(a.prompt_logprobs[i], b.prompt_logprobs[i]);
    }
  }
  static void ExpectEqual(const PromptLogprob& a, const PromptLogprob& b) {
    EXPECT_EQ(a.logprob, b.logprob);
    EXPECT_EQ(a.rank, b.rank);
  }
  static void ExpectEqualTops(const SampledToken& a, const SampledToken& b) {
    ASSERT_EQ(a.top.size(), b.top.size());
    for (size_t j = 0; j < a.top.size(); ++j) {
      EXPECT_EQ(a.top[j].id, b.top[j].id);
      EXPECT_EQ(a.top[j].logprob, b.top[j].logprob);
    }
  }

  const TinyModel model_;
  std::unique_ptr<ModelRunner> engine_;
  std::vector<TestSequence> sequences_;
  TestSequence prompt_ = SequenceOf(6, 40);
  const std::vector<TokenId> draft_ = {3, 4, 5};
};

TEST_F(MaskedStepsTest, WhatRunsBesideItIsAsWithoutMasks) {
  StepInput input = AllKinds();
  Execute(input);  // a back end may choose algorithms in the first step of a shape
  const StepOutput plain = Execute(input);
  for (const size_t row : {0, 2, 3, 4}) {
    SCOPED_TRACE(row);
    for (ScheduledSequence& sequence : input.sequences) sequence.masked = false;
    input.sequences[row].masked = true;
    std::vector<std::set<TokenId>> allowed(input.sequences.size());
    const TokenId forbidden = plain.sequences[row].sampled[0].id;
    for (TokenId token = 0; token < kVocabSize; token += 2) {
      if (token != forbidden) allowed[row].insert(token);
    }
    const StepOutput masked = Execute(input, MasksOf(allowed, kVocabSize));
    for (size_t i = 0; i < input.sequences.size(); ++i) {
      if (i != row) ExpectEqual(masked.sequences[i], plain.sequences[i]);
    }
    const SampledToken& token = masked.sequences[row].sampled.at(0);
    EXPECT_TRUE(allowed[row].contains(token.id)) << token.id;
    // Log probabilities are those of the model.
    ExpectEqualTops(token, plain.sequences[row].sampled[0]);
    EXPECT_EQ(masked.stats.decode_rows, plain.stats.decode_rows);
    EXPECT_EQ(masked.stats.sparse_rows, 1);
  }
}

TEST_F(MaskedStepsTest, EveryRowHasItsOwnMask) {
  StepInput input = AllKinds();
  std::vector<std::set<TokenId>> allowed(input.sequences.size());
  for (const size_t row : {0, 2, 3, 4}) {
    input.sequences[row].masked = true;
    allowed[row] = {static_cast<TokenId>(90 + row)};
  }
  allowed[2] = {};  // masked, and then without a mask
  const StepOutput output = Execute(input, MasksOf(allowed, kVocabSize));
  EXPECT_EQ(output.sequences[0].sampled.at(0).id, 90);
  EXPECT_EQ(output.sequences[3].sampled.at(0).id, 93);
  EXPECT_EQ(output.sequences[4].sampled.at(0).id, 94);
  EXPECT_EQ(output.sequences[1].sampled.size(), 4u) << "of the draft";
  EXPECT_TRUE(output.sequences[5].sampled.empty());
  EXPECT_EQ(output.sequences[5].prompt_logprobs.size(), 9u);
  for (ScheduledSequence& sequence : input.sequences) sequence.masked = false;
  ExpectEqual(output.sequences[2], Execute(input).sequences[2]);
}

TEST_F(MaskedStepsTest, SeveralSequencesMayShareAMask) {
  StepInput input = {{sequences_[0].Decode(), sequences_[1].Decode()}};
  input.sequences[0].masked = input.sequences[1].masked = true;
  StepMasks masks = MasksOf({{40}}, kVocabSize);
  masks.of_sequences = {0, 0};
  const StepOutput output = Execute(input, masks);
  EXPECT_EQ(output.sequences[0].sampled.at(0).id, 40);
  EXPECT_EQ(output.sequences[1].sampled.at(0).id, 40);
}

// Penalties and the next step go on from the token that was allowed.
TEST_F(MaskedStepsTest, TheSlotHoldsTheTokenThatWasAllowed) {
  TestSequence& s = sequences_[0];
  StepInput step = {{s.Decode()}};
  step.sequences[0].masked = true;
  engine_->Launch(step);
  engine_->Sample(MasksOf({{77}}, kVocabSize));
  step.sequences[0].masked = false;
  step.sequences[0].new_in_slot = false;
  step.sequences[0].num_sent_blocks = static_cast<int32_t>(s.blocks.size());
  step.sequences[0].num_computed_tokens += 1;
  step.sequences[0].num_pending_tokens = 1;
  engine_->Launch(step);
  ASSERT_TRUE(engine_->Collect().ok());
  const auto ahead = engine_->Collect();
  ASSERT_TRUE(ahead.ok()) << ahead.status();
  s.num_computed_tokens = s.size();
  s.tokens.push_back(77);
  ExpectEqual(ahead->sequences[0], Execute({{s.Decode()}}).sequences[0]);
}

TEST_F(MaskedStepsTest, AfterAMaskedStepOthersAreFree) {
  StepInput input = AllKinds();
  Execute(input);
  const StepOutput before = Execute(input);
  input.sequences[0].masked = true;
  std::vector<std::set<TokenId>> allowed(input.sequences.size());
  allowed[0] = {9};
  Execute(input, MasksOf(allowed, kVocabSize));
  input.sequences[0].masked = false;
  const StepOutput after = Execute(input);
  for (size_t i = 0; i < input.sequences.size(); ++i) {
    ExpectEqual(after.sequences[i], before.sequences[i]);
  }
}

TEST(MaskedStepsFaultTest, AfterAFailureMasksAreIgnored) {
  const TinyModel model({});
  EngineConfig config;
  config.model_path = model.path();
  config.kv_cache_bytes = 16 << 20;
  config.max_num_seqs = 2;
  config.max_num_batched_tokens = 64;
  auto backend = std::make_unique<ForwardingBackend>(MakeTestBackend());
  ForwardingBackend* const device = backend.get();
  const auto engine = Engine::Create(config, std::move(backend));
  ASSERT_TRUE(engine.ok()) << engine.status();
  TestSequence first(1, {1, 2, 3, 4}, ConsecutiveBlocks(0, 100, kBlockSize));
  TestSequence second(2, {5, 6}, ConsecutiveBlocks(10, 100, kBlockSize));
  StepInput masked = {{second.Prefill(2)}};
  masked.sequences[0].masked = true;
  (*engine)->Launch({{first.Prefill(4)}});
  (*engine)->Launch(masked);
  device->error = "it fell off the bus";
  EXPECT_EQ((*engine)->Collect().status(), absl::UnavailableError("it fell off the bus"));
  (*engine)->Sample(MasksOf({{5}}, kVocabSize));
  EXPECT_EQ((*engine)->Collect().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ((*engine)->Execute(masked, MasksOf({{5}}, kVocabSize)).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(MaskedStepsDeathTest, BrokenPromisesOfTheSchedulerAbort) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const TinyModel model({});
  EngineConfig config;
  config.model_path = model.path();
  config.kv_cache_bytes = 16 << 20;
  config.max_num_seqs = 2;
  config.max_num_batched_tokens = 64;
  const auto engine = LoadForTest(config);
  TestSequence sequence(1, {1, 2, 3, 4}, ConsecutiveBlocks(0, 100, kBlockSize));
  StepInput masked = {{sequence.Prefill(4)}}, plain = masked;
  masked.sequences[0].masked = true;
  const StepMasks good = MasksOf({{5}}, kVocabSize);
  EXPECT_DEATH(
      {
        engine->Launch(masked);
        (void)engine->Collect();
      },
      "CHECK failed");
  EXPECT_DEATH(
      {
        engine->Launch(masked);
        engine->Launch(plain);
      },
      "CHECK failed");
  EXPECT_DEATH(
      {
        engine->Launch(plain);
        engine->Sample(good);
      },
      "CHECK failed");
  EXPECT_DEATH(engine->Sample(good), "CHECK failed");
  const auto sample = [&](auto change) {
    StepMasks masks = good;
    change(masks);
    engine->Launch(masked);
    engine->Sample(masks);
  };
  EXPECT_DEATH(sample([](StepMasks& m) { m.of_sequences = {0, 0}; }), "CHECK failed");
  EXPECT_DEATH(sample([](StepMasks& m) { m.of_sequences = {1}; }), "CHECK failed");
  EXPECT_DEATH(sample([](StepMasks& m) { m.of_sequences = {-2}; }), "CHECK failed");
  EXPECT_DEATH(sample([](StepMasks& m) { m.words.pop_back(); }), "CHECK failed");
  EXPECT_DEATH(sample([](StepMasks& m) { m.words.resize(3 * 4); }), "CHECK failed") << "3 of 2";
}

}  // namespace
}  // namespace tidal
