// Steps launched while the one before runs give what steps run one by one give, to the bit: the
// same rows run in the same batches. And steps that run in parts.
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/engine_harness.h"
#include "tests/support/forwarding_backend.h"
#include "tests/support/test_backend.h"
#include "tests/support/tiny_model.h"

namespace tidal {
namespace {

constexpr int32_t kBlocksEach = 16;  // of 16 tokens
const std::vector<int32_t> kAll = {0, 1, 2, 3};

TinyModelSpec Spec() {
  TinyModelSpec spec;
  spec.tidal_json = R"({"pattern":"DDSRSR"})";
  return spec;
}

EngineConfig Config(const TinyModel& model) {
  EngineConfig config;
  config.model_path = model.path();
  config.kv_cache_bytes = 16 << 20;
  config.max_model_len = 256;
  config.max_num_seqs = 8;
  config.max_num_batched_tokens = 256;
  return config;
}

std::vector<TokenId> Prompt(int32_t length, int32_t first) {
  std::vector<TokenId> prompt(length);
  for (int32_t i = 0; i < length; ++i) prompt[i] = (first + 7 * i) % 101;
  return prompt;
}

// Runs steps of some sequences with one engine, ahead where it can be; the even ones under masks,
// which depend on their tokens, if `masked`.
class Driver {
 public:
  Driver(Executor* executor, bool ahead, bool masked = false)
      : executor_(*executor), ahead_(ahead), masked_(masked) {
    // Greedy and seeded, dense and sparse; contexts cross blocks, budget and dense_below.
    for (int32_t i = 0; i < 4; ++i) {
      sequences_.emplace_back(i + 1, Prompt(11 + 20 * i, i),
                              ConsecutiveBlocks(i * kBlocksEach, kBlocksEach * 16, 16));
    }
    sequences_[1].sampling.temperature = 1;
    sequences_[1].sampling.seed = 5;
    sequences_[1].attention = {AttentionMode::kTidal, 40, 0};
    sequences_[2].attention = {AttentionMode::kTidal, 16, 70};
    sequences_[2].sampling.num_logprobs = 3;
    sequences_[2].sampling.logit_bias = {{4, 3.0f}};
    sequences_[3].attention = {AttentionMode::kTidal, 16, 0};
    sequences_[0].sampling.repetition_penalty = 1.3f;
    sequences_[0].sampling.logprob_token_ids = {1, 4, 9, 30};
    sequences_[3].sampling.frequency_penalty = 0.4f;
    sequences_[3].sampling.temperature = 0.7f;
    sequences_[3].sampling.top_p = 0.8f;
    sequences_[3].sampling.seed = 6;
    outputs_.resize(sequences_.size());
  }

  // The next step of these sequences.
  void Step(const std::vector<int32_t>& which) {
    const bool follows = Follows(which);
    if (!follows) Finish();
    StepInput input;
    for (int32_t index : which) {
      const TestSequence& s = sequences_[index];
      const bool decode = s.size() > s.num_prompt_tokens || follows;
      input.sequences.push_back(decode ? s.Decode() : s.Prefill(s.remaining()));
      input.sequences.back().masked = masked_ && index % 2 == 0;
      if (!follows) continue;
      ScheduledSequence& row = input.sequences.back();
      row.num_computed_tokens = s.size();
      row.wanted = Wanted::kLastToken;
      row.new_in_slot = false;
      row.num_sent_blocks = static_cast<int32_t>(s.blocks.size());
      row.num_pending_tokens = 1;
      ++num_ahead_;
    }
    executor_.Launch(input);
    if (follows) Collect();
    in_flight_ = which;
    if (input.masked()) executor_.Sample(MasksOf(which));
  }
  void Finish() {
    if (!in_flight_.empty()) Collect();
  }

  const std::vector<std::vector<SampledToken>>& outputs() const { return outputs_; }
  const std::vector<TestSequence>& sequences() const { return sequences_; }
  int32_t num_ahead() const { return num_ahead_; }
  int32_t num_sparse() const { return num_sparse_; }

 private:
  int32_t RowOf(int32_t index) const {
    for (size_t row = 0; row < in_flight_.size(); ++row) {
      if (in_flight_[row] == index) return static_cast<int32_t>(row);
    }
    return -1;
  }
  // A token follows one that is as odd as it, but where its sequence has ended a dozen.
  StepMasks MasksOf(const std::vector<int32_t>& which) const {
    StepMasks masks;
    for (const int32_t index : which) {
      const TestSequence& s = sequences_[index];
      const bool is_free = index % 2 != 0 || s.size() % 12 == 0;
      masks.of_sequences.push_back(is_free ? StepMasks::kNoMask
                                           : static_cast<int32_t>(masks.words.size() / 4));
      if (is_free) continue;
      const uint32_t word = s.tokens.back() % 2 == 0 ? 0x55555555u : 0xaaaaaaaau;
      masks.words.insert(masks.words.end(), 4, word);
    }
    return masks;
  }
  bool Follows(const std::vector<int32_t>& which) const {
    if (!ahead_ || in_flight_.empty()) return false;
    for (int32_t index : which) {
      if (RowOf(index) < 0) return false;
    }
    return true;
  }
  void Collect() {
    auto output = executor_.Collect();
    ASSERT_TRUE(output.ok()) << output.status();
    const std::vector<int32_t> which = std::exchange(in_flight_, {});
    for (size_t row = 0; row < which.size(); ++row) {
      TestSequence& s = sequences_[which[row]];
      SequenceOutput& sequence = output->sequences[row];
      ASSERT_EQ(sequence.sampled.size(), 1u);
      num_sparse_ += sequence.ran_sparse;
      s.num_computed_tokens = s.size();
      s.tokens.push_back(sequence.sampled[0].id);
      outputs_[which[row]].push_back(std::move(sequence.sampled[0]));
    }
  }

  Executor& executor_;
  const bool ahead_, masked_;
  std::vector<TestSequence> sequences_;
  std::vector<int32_t> in_flight_;  // sequences of the step not collected
  std::vector<std::vector<SampledToken>> outputs_;
  int32_t num_ahead_ = 0, num_sparse_ = 0;  // rows
};

void ExpectEqual(const Driver& ahead, const Driver& plain) {
  for (size_t i = 0; i < plain.outputs().size(); ++i) {
    const auto &a = ahead.outputs()[i], &b = plain.outputs()[i];
    ASSERT_EQ(a.size(), b.size()) << i;
    for (size_t t = 0; t < a.size(); ++t) {
      ASSERT_EQ(a[t].id, b[t].id) << "sequence " << i << ", token " << t;
      EXPECT_EQ(a[t].logprob, b[t].logprob) << "sequence " << i << ", token " << t;
      ASSERT_EQ(a[t].top.size(), b[t].top.size());
      for (size_t k = 0; k < a[t].top.size(); ++k) EXPECT_EQ(a[t].top[k].id, b[t].top[k].id);
    }
  }
}

TEST(RunAheadTest, GivesWhatStepsOneByOneGive) {
  const TinyModel model(Spec());
  const auto engine = LoadForTest(Config(model));
  const auto run = [&](bool ahead) {
    Driver driver(engine.get(), ahead);
    driver.Step(kAll);  // prompts: their tokens may be pending as well
    for (int step = 0; step < 60; ++step) driver.Step(kAll);
    driver.Finish();
    return driver;
  };
  run(false);  // a back end may choose algorithms in the first step of a shape
  const Driver ahead = run(true), plain = run(false);
  ExpectEqual(ahead, plain);
  EXPECT_EQ(ahead.num_ahead(), 60 * 4);
  EXPECT_EQ(plain.num_ahead(), 0);
  EXPECT_GT(ahead.num_sparse(), 60);
}

// The masks of a step come once the tokens of the one before are here, while it runs.
TEST(RunAheadTest, MasksFollowTheTokensBefore) {
  const TinyModel model(Spec());
  const auto engine = LoadForTest(Config(model));
  const auto run = [&](bool ahead, bool masked) {
    Driver driver(engine.get(), ahead, masked);
    for (int step = 0; step < 60; ++step) driver.Step(kAll);
    driver.Finish();
    return driver;
  };
  run(false, true);  // a back end may choose algorithms in the first step of a shape
  const Driver ahead = run(true, true), step_by_step = run(false, true), free = run(false, false);
  ExpectEqual(ahead, step_by_step);
  EXPECT_EQ(ahead.num_ahead(), 59 * 4);
  for (const int32_t i : {0, 2}) {
    int32_t turns = 0;
    TokenId last = ahead.sequences()[i].tokens[ahead.sequences()[i].num_prompt_tokens - 1];
    for (const SampledToken& token : ahead.outputs()[i]) {
      turns += (token.id + last) % 2;
      last = token.id;
    }
    EXPECT_LE(turns, 6) << i;
    EXPECT_NE(ahead.outputs()[i].back().id, free.outputs()[i].back().id) << i;
  }
  for (size_t t = 0; BatchesAreBitwiseEqual() && t < 60; ++t) {
    EXPECT_EQ(ahead.outputs()[1][t].logprob, free.outputs()[1][t].logprob) << "of a free one";
  }
}

TEST(RunAheadTest, SequencesLeaveAndJoin) {
  const TinyModel model(Spec());
  const auto engine = LoadForTest(Config(model));
  const auto run = [&](bool ahead) {
    Driver driver(engine.get(), ahead);
    driver.Step({2, 0});
    for (int step = 0; step < 9; ++step) driver.Step({2, 0});
    driver.Step({0});  // one leaves
    driver.Step({0});
    driver.Step({0, 3});                                       // a prompt joins: a plain step
    for (int step = 0; step < 9; ++step) driver.Step({3, 0});  // in another order
    driver.Step({1});
    for (int step = 0; step < 30; ++step) driver.Step({1});
    driver.Step({0, 1, 2, 3});
    for (int step = 0; step < 9; ++step) driver.Step({3, 1});
    driver.Finish();
    return driver;
  };
  run(false);  // a back end may choose algorithms in the first step of a shape
  const Driver ahead = run(true), plain = run(false);
  ExpectEqual(ahead, plain);
  EXPECT_GT(ahead.num_ahead(), 70);
}

// A back end that counts the parts that steps ran in.
class CountingBackend : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void Embedding(const EmbeddingParams& params) override {
    ++num_parts;
    ForwardingBackend::Embedding(params);
  }
  int num_parts = 0;
};

// Sequences that share a long prefix, so that their contexts add up to more than the cache holds.
class StepInPartsTest : public testing::Test {
 protected:
  static constexpr int32_t kPrefix = 208, kSequences = 4;

  void SetUp() override {
    auto backend = std::make_unique<CountingBackend>(MakeTestBackend());
    backend_ = backend.get();
    backend_->eager = true;  // a replay would hide the parts
    EngineConfig config = Config(model_);
    config.kv_cache_bytes = 20 * 16 * (2 * 6 * 2 * 16 * 2);  // 20 blocks
    engine_ = Engine::Create(config, std::move(backend)).value();
    for (int32_t i = 0; i < kSequences; ++i) {
      std::vector<BlockId> blocks = ConsecutiveBlocks(0, kPrefix, 16);
      blocks.push_back(kPrefix / 16 + i);  // its own
      TestSequence& s = sequences_.emplace_back(i + 1, Prompt(kPrefix, 3), blocks);
      s.attention = {AttentionMode::kTidal, 32, 0};
      s.sampling.num_logprobs = i;
      if (i == 2) s.sampling.temperature = 1;
    }
    ASSERT_TRUE(engine_->Execute({{sequences_[0].Prefill(kPrefix)}}).ok());
    for (int32_t i = 0; i < kSequences; ++i) {
      sequences_[i].num_computed_tokens = kPrefix;
      sequences_[i].tokens.push_back(10 + i);
    }
    backend_->num_parts = 0;
  }
  StepInput AllOf() const {
    StepInput input;
    for (const TestSequence& s : sequences_) input.sequences.push_back(s.Decode());
    return input;
  }

  const TinyModel model_{Spec()};
  CountingBackend* backend_ = nullptr;  // the engine owns it
  std::unique_ptr<Engine> engine_;
  std::vector<TestSequence> sequences_;
};

TEST_F(StepInPartsTest, RowsGetWhatTheyGetAlone) {
  const auto output = engine_->Execute(AllOf());
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(backend_->num_parts, kSequences);
  EXPECT_EQ(output->stats.decode_rows, kSequences);
  EXPECT_EQ(output->stats.sparse_rows, kSequences);
  EXPECT_EQ(output->stats.selected_tokens, kSequences * 32);
  for (int32_t i = 0; i < kSequences; ++i) {
    const auto alone = engine_->Execute({{sequences_[i].Decode()}});
    ASSERT_TRUE(alone.ok());
    const SampledToken &a = output->sequences[i].sampled[0], &b = alone->sequences[0].sampled[0];
    EXPECT_EQ(a.id, b.id) << i;
    EXPECT_EQ(a.logprob, b.logprob) << i;
    EXPECT_EQ(a.top.size(), i);
    EXPECT_TRUE(output->sequences[i].ran_sparse);
  }
}

// The later parts read tokens that the step before sampled, after earlier parts have sampled.
TEST_F(StepInPartsTest, RunsAheadToo) {
  const auto first = engine_->Execute(AllOf());
  ASSERT_TRUE(first.ok()) << first.status();
  for (int32_t i = 0; i < kSequences; ++i) {
    sequences_[i].num_computed_tokens += 1;
    sequences_[i].tokens.push_back(first->sequences[i].sampled[0].id);
  }
  const auto expected = engine_->Execute(AllOf());
  ASSERT_TRUE(expected.ok()) << expected.status();

  for (TestSequence& s : sequences_) {
    s.tokens.pop_back();
    s.num_computed_tokens -= 1;
  }
  StepInput step = AllOf();
  engine_->Launch(step);
  for (int32_t i = 0; i < kSequences; ++i) {
    step.sequences[i].num_computed_tokens += 1;
    step.sequences[i].new_in_slot = false;
    step.sequences[i].num_pending_tokens = 1;
  }
  engine_->Launch(step);
  ASSERT_TRUE(engine_->Collect().ok());
  const auto second = engine_->Collect();
  ASSERT_TRUE(second.ok()) << second.status();
  for (int32_t i = 0; i < kSequences; ++i) {
    const SampledToken &a = second->sequences[i].sampled[0], &b = expected->sequences[i].sampled[0];
    EXPECT_EQ(a.id, b.id) << i;
    EXPECT_EQ(a.logprob, b.logprob) << i;
  }
}

// Parts share the memory of their logits, so they run once the step's masks are here.
TEST_F(StepInPartsTest, RunsMaskedToo) {
  StepInput input = AllOf();
  StepMasks masks;  // words 2, 0 and 1 of sequences 0, 2 and 3, each with another set
  masks.of_sequences = {2, StepMasks::kNoMask, 0, 1};
  for (const uint32_t word : {0x11111111u, 0x22222222u, 0x88888888u}) {
    masks.words.insert(masks.words.end(), 4, word);
  }
  for (const int32_t i : {0, 2, 3}) input.sequences[i].masked = true;
  engine_->Launch(input);
  EXPECT_EQ(backend_->num_parts, 0);
  const std::vector<TestSequence> kept = sequences_;
  sequences_.clear();  // the views of the step are not needed any more
  engine_->Sample(masks);
  EXPECT_EQ(backend_->num_parts, kSequences);
  const auto output = engine_->Collect();
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(output->stats.sparse_rows, kSequences);
  const int32_t remainders[] = {3, -1, 0, 1};
  for (int32_t i = 0; i < kSequences; ++i) {
    StepInput one = {{kept[i].Decode()}};
    one.sequences[0].masked = remainders[i] >= 0;
    StepMasks mask = {{0}, std::vector<uint32_t>(4, 0x11111111u << std::max(remainders[i], 0))};
    const auto alone = engine_->Execute(one, mask);
    ASSERT_TRUE(alone.ok()) << alone.status();
    const SampledToken &a = output->sequences[i].sampled[0], &b = alone->sequences[0].sampled[0];
    EXPECT_EQ(a.id, b.id) << i;
    EXPECT_EQ(a.logprob, b.logprob) << i;
    EXPECT_EQ(a.top.size(), i);
    if (remainders[i] >= 0) {
      EXPECT_EQ(a.id % 4, remainders[i]);
    }
  }
}

// The second step in parts is launched before the first is collected, its masks come after.
TEST_F(StepInPartsTest, RunsMaskedAndAhead) {
  const StepMasks masks[] = {{{0, 0, 0, 0}, std::vector<uint32_t>(4, 0x11111111u)},
                             {{0, 0, 0, 0}, std::vector<uint32_t>(4, 0x22222222u)}};
  StepInput step = AllOf();
  for (ScheduledSequence& row : step.sequences) row.masked = true;
  engine_->Launch(step);
  engine_->Sample(masks[0]);
  for (ScheduledSequence& row : step.sequences) {
    row.num_computed_tokens += 1;
    row.new_in_slot = false;
    row.num_pending_tokens = 1;
  }
  engine_->Launch(step);
  const auto first = engine_->Collect();
  ASSERT_TRUE(first.ok()) << first.status();
  engine_->Sample(masks[1]);
  const auto second = engine_->Collect();
  ASSERT_TRUE(second.ok()) << second.status();
  for (int32_t i = 0; i < kSequences; ++i) {
    EXPECT_EQ(first->sequences[i].sampled[0].id % 4, 0) << i;
    sequences_[i].num_computed_tokens += 1;
    sequences_[i].tokens.push_back(first->sequences[i].sampled[0].id);
  }
  StepInput again = AllOf();
  for (ScheduledSequence& row : again.sequences) row.masked = true;
  const auto expected = engine_->Execute(again, masks[1]);
  ASSERT_TRUE(expected.ok()) << expected.status();
  for (int32_t i = 0; i < kSequences; ++i) {
    const SampledToken &a = second->sequences[i].sampled[0], &b = expected->sequences[i].sampled[0];
    EXPECT_EQ(a.id % 4, 1) << i;
    EXPECT_EQ(a.id, b.id) << i;
    EXPECT_EQ(a.logprob, b.logprob) << i;
  }
}

}  // namespace
}  // namespace tidal
