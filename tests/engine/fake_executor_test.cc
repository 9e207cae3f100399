#include "tests/support/fake_executor.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;

// Four tokens a block, so that short prompts cross blocks.
FakeExecutorOptions Options() {
  FakeExecutorOptions options;
  options.num_blocks = 8;
  options.block_size = 4;
  return options;
}

SamplingParams Sampling(float temperature, uint64_t seed) {
  SamplingParams sampling;
  sampling.temperature = temperature;
  sampling.seed = seed;
  return sampling;
}

struct Seq {
  SequenceId id;
  std::vector<TokenId> tokens;
  std::vector<BlockId> blocks;
  int32_t computed = 0;
  int32_t prompt = static_cast<int32_t>(tokens.size());
  SamplingParams sampling = Sampling(0, 0);
  AttentionPolicy attention = {};

  ScheduledSequence Run(int32_t new_tokens, bool is_decode = false) const {
    ScheduledSequence s = {};
    s.id = id;
    s.tokens = tokens;
    s.num_prompt_tokens = prompt;
    s.num_computed_tokens = computed;
    s.num_new_tokens = new_tokens;
    s.block_table = blocks;
    s.is_decode = is_decode;
    s.needs_token = computed + new_tokens == static_cast<int32_t>(tokens.size());
    s.sampling = &sampling;
    s.attention = attention;
    return s;
  }
};

std::string ErrorOf(FakeExecutor& executor, std::vector<ScheduledSequence> sequences) {
  return std::string(executor.Execute({std::move(sequences)}).status().message());
}

TEST(FakeExecutorTest, ChunkedPrefillAndDecodeGiveTheExpectedOutput) {
  FakeExecutor executor(Options());
  Seq a = {1, {5, 6, 7, 8, 9, 10}, {3, 0, 6}};
  const std::vector<TokenId> expected = executor.ExpectedOutput(a.tokens, 4, a.sampling);

  ASSERT_TRUE(executor.Execute({{a.Run(4)}}).ok());
  a.computed = 4;
  for (int i = 0; i < 4; ++i) {
    auto out = executor.Execute({{a.Run(a.tokens.size() - a.computed, i > 0)}});
    ASSERT_TRUE(out.ok()) << out.status();
    ASSERT_TRUE(out->sequences[0].sampled.has_value());
    EXPECT_EQ(out->sequences[0].sampled->id, expected[i]);
    a.computed = a.tokens.size();
    a.tokens.push_back(out->sequences[0].sampled->id);
  }
  EXPECT_EQ(executor.num_steps(), 5);
}

TEST(FakeExecutorTest, ClaimingTooManyComputedTokensFails) {
  FakeExecutor executor(Options());
  Seq a = {1, {5, 6, 7, 8, 9, 10}, {3, 0}};
  ASSERT_TRUE(executor.Execute({{a.Run(4)}}).ok());
  a.computed = 5;
  EXPECT_THAT(ErrorOf(executor, {a.Run(1)}), HasSubstr("position 4 in block 0"));
  EXPECT_FALSE(executor.status().ok());
}

TEST(FakeExecutorTest, BlockOverwrittenByAnotherSequenceFails) {
  FakeExecutor executor(Options());
  Seq a = {1, {5, 6, 7, 8, 9}, {3, 0}};
  Seq b = {2, {5, 6, 7, 1}, {3}};
  ASSERT_TRUE(executor.Execute({{a.Run(4)}}).ok());
  ASSERT_TRUE(executor.Execute({{b.Run(4)}}).ok());
  a.computed = 4;
  EXPECT_THAT(ErrorOf(executor, {a.Run(1)}), HasSubstr("holds another prefix"));
}

TEST(FakeExecutorTest, EqualBlockContentAfterAnotherPrefixFails) {
  FakeExecutor executor(Options());
  Seq a = {1, {1, 2, 3, 4, 5, 6, 7, 8}, {0, 1}};
  ASSERT_TRUE(executor.Execute({{a.Run(8)}}).ok());
  Seq b = {2, {9, 2, 3, 4, 5, 6, 7, 8, 9}, {2, 1, 3}};
  ASSERT_TRUE(executor.Execute({{b.Run(4)}}).ok());
  b.computed = 8;
  EXPECT_THAT(ErrorOf(executor, {b.Run(1)}), HasSubstr("position 4 in block 1 holds another"));
}

TEST(FakeExecutorTest, SharedPrefixIsFineUnlessDecodedSparsely) {
  FakeExecutor executor(Options());
  Seq a = {1, {1, 2, 3}, {0, 1}};
  a.attention = {AttentionMode::kTidal, 2, 0};
  ASSERT_TRUE(executor.Execute({{a.Run(3)}}).ok());
  a.computed = 3;
  a.tokens.push_back(4);
  auto out = executor.Execute({{a.Run(1, true)}});
  ASSERT_TRUE(out.ok());
  EXPECT_TRUE(out->sequences[0].ran_sparse);
  EXPECT_EQ(out->stats.sparse_rows, 1);

  Seq b = {2, {1, 2, 3, 4, 5}, {0, 2}};
  b.computed = 3;
  ASSERT_TRUE(executor.Execute({{b.Run(2)}}).ok());  // overwrites position 3 densely

  Seq c = {3, {1, 2, 3, 4, 6}, {0, 4}};
  c.computed = 4;
  EXPECT_TRUE(executor.Execute({{c.Run(1)}}).ok());
  a.computed = 3;
  ASSERT_TRUE(executor.Execute({{a.Run(1, true)}}).ok());
  EXPECT_THAT(ErrorOf(executor, {c.Run(1)}), HasSubstr("decoded sparsely by sequence 1"));
}

TEST(FakeExecutorTest, ShapeErrorsNameTheSequence) {
  const Seq a = {7, {1, 2, 3, 4, 5}, {0, 1}};
  {
    FakeExecutor executor(Options());
    EXPECT_THAT(ErrorOf(executor, {a.Run(6)}), HasSubstr("sequence 7: runs tokens [0, 6) of 5"));
  }
  {
    FakeExecutor executor(Options());
    EXPECT_THAT(ErrorOf(executor, {a.Run(5), a.Run(5)}), HasSubstr("scheduled twice"));
  }
  {
    FakeExecutor executor(Options());
    Seq b = a;
    b.blocks = {0};
    EXPECT_THAT(ErrorOf(executor, {b.Run(5)}), HasSubstr("block table covers 4 of 5"));
    b.blocks = {0, 8};
    FakeExecutor other(Options());
    EXPECT_THAT(ErrorOf(other, {b.Run(5)}), HasSubstr("out of range"));
  }
  {
    FakeExecutor executor(Options());
    Seq b = {8, {1, 2, 3}, {0}};
    EXPECT_THAT(ErrorOf(executor, {a.Run(5), b.Run(3)}), HasSubstr("also written by sequence 7"));
  }
}

TEST(FakeExecutorTest, SeedCountsOnlyWhenSampling) {
  FakeExecutor executor(Options());
  SamplingParams greedy = Sampling(0, 1), other = Sampling(0, 2);
  EXPECT_EQ(executor.ExpectedOutput({1, 2}, 8, greedy), executor.ExpectedOutput({1, 2}, 8, other));
  greedy.temperature = other.temperature = 1;
  EXPECT_NE(executor.ExpectedOutput({1, 2}, 8, greedy), executor.ExpectedOutput({1, 2}, 8, other));
}

TEST(FakeExecutorTest, FailsForGoodWhenTold) {
  FakeExecutorOptions options = Options();
  options.fail_at_step = 1;
  FakeExecutor executor(options);
  const Seq a = {1, {1, 2, 3}, {0}};
  EXPECT_TRUE(executor.Execute({{a.Run(3)}}).ok());
  EXPECT_EQ(executor.Execute({{a.Run(3)}}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(executor.Execute({{a.Run(3)}}).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tidal
