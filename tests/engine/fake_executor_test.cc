#include "tests/support/fake_executor.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/test_sequence.h"

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

std::string ErrorOf(FakeExecutor& executor, std::vector<ScheduledSequence> sequences) {
  return std::string(executor.Execute({std::move(sequences)}).status().message());
}

TEST(FakeExecutorTest, ChunkedPrefillAndDecodeGiveTheExpectedOutput) {
  FakeExecutor executor(Options());
  TestSequence a(1, {5, 6, 7, 8, 9, 10}, {3, 0, 6});
  const std::vector<TokenId> expected = executor.ExpectedOutput(a.tokens, 4, a.sampling);

  ASSERT_TRUE(executor.Execute({{a.Prefill(4)}}).ok());
  a.num_computed_tokens = 4;
  for (int i = 0; i < 4; ++i) {
    auto out = executor.Execute({{i > 0 ? a.Decode() : a.Prefill(a.remaining())}});
    ASSERT_TRUE(out.ok()) << out.status();
    ASSERT_EQ(out->sequences[0].sampled.size(), 1u);
    EXPECT_EQ(out->sequences[0].sampled[0].id, expected[i]);
    a.num_computed_tokens = a.tokens.size();
    a.tokens.push_back(out->sequences[0].sampled[0].id);
  }
  EXPECT_EQ(executor.num_steps(), 5);
}

TEST(FakeExecutorTest, AMaskedTokenIsTheNextOneThatIsAllowed) {
  FakeExecutorOptions options = Options();
  options.vocab_size = 64;
  options.next_token = [](absl::Span<const TokenId> tokens) { return tokens.back() + 1; };
  FakeExecutor executor(options);
  TestSequence a(1, {5}, {0}), b(2, {40}, {1}), c(3, {20}, {2});
  StepInput step = {{a.Prefill(1), b.Prefill(1), c.Prefill(1)}};
  step.sequences[0].masked = step.sequences[1].masked = true;
  const StepMasks masks = {{1, 0, StepMasks::kNoMask}, {1u << 3, 0, 1u << 6, 1u << 31}};
  const auto out = executor.Execute(step, masks);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->sequences[0].sampled[0].id, 6) << "it was to be that one";
  EXPECT_EQ(out->sequences[1].sampled[0].id, 3) << "the lowest after the last";
  EXPECT_EQ(out->sequences[2].sampled[0].id, 21);
}

// What the serving loop promises, in its order.
TEST(FakeExecutorTest, MasksThatDoNotComeOrAreNotTheStepsFail) {
  TestSequence a(1, {5}, {0});
  const StepInput plain = {{a.Prefill(1)}};
  StepInput masked = plain;
  masked.sequences[0].masked = true;
  const StepMasks masks = {{0}, {1}};
  {
    FakeExecutor executor(Options());
    executor.Launch(masked);
    EXPECT_THAT(std::string(executor.Collect().status().message()), HasSubstr("was not sampled"));
  }
  {
    FakeExecutor executor(Options());
    executor.Launch(masked);
    executor.Launch(plain);
    (void)executor.Collect();
    EXPECT_THAT(std::string(executor.Collect().status().message()),
                HasSubstr("the step before was not sampled"));
  }
  for (const auto& [step, given] : {std::pair(plain, masks), std::pair(masked, StepMasks())}) {
    FakeExecutor executor(Options());
    executor.Launch(step);
    executor.Sample(given);
    EXPECT_THAT(std::string(executor.Collect().status().message()),
                HasSubstr("masks that are not the step's"));
  }
}

TEST(FakeExecutorTest, ClaimingTooManyComputedTokensFails) {
  FakeExecutor executor(Options());
  TestSequence a(1, {5, 6, 7, 8, 9, 10}, {3, 0});
  ASSERT_TRUE(executor.Execute({{a.Prefill(4)}}).ok());
  a.num_computed_tokens = 5;
  EXPECT_THAT(ErrorOf(executor, {a.Prefill(1)}), HasSubstr("position 4 in block 0"));
  EXPECT_FALSE(executor.status().ok());
}

TEST(FakeExecutorTest, BlockOverwrittenByAnotherSequenceFails) {
  FakeExecutor executor(Options());
  TestSequence a(1, {5, 6, 7, 8, 9}, {3, 0});
  TestSequence b(2, {5, 6, 7, 1}, {3});
  ASSERT_TRUE(executor.Execute({{a.Prefill(4)}}).ok());
  ASSERT_TRUE(executor.Execute({{b.Prefill(4)}}).ok());
  a.num_computed_tokens = 4;
  EXPECT_THAT(ErrorOf(executor, {a.Prefill(1)}), HasSubstr("holds another prefix"));
}

TEST(FakeExecutorTest, EqualBlockContentAfterAnotherPrefixFails) {
  FakeExecutor executor(Options());
  TestSequence a(1, {1, 2, 3, 4, 5, 6, 7, 8}, {0, 1});
  ASSERT_TRUE(executor.Execute({{a.Prefill(8)}}).ok());
  TestSequence b(2, {9, 2, 3, 4, 5, 6, 7, 8, 9}, {2, 1, 3});
  ASSERT_TRUE(executor.Execute({{b.Prefill(4)}}).ok());
  b.num_computed_tokens = 8;
  EXPECT_THAT(ErrorOf(executor, {b.Prefill(1)}), HasSubstr("position 4 in block 1 holds another"));
}

TEST(FakeExecutorTest, SharedPrefixIsFineUnlessDecodedSparsely) {
  FakeExecutor executor(Options());
  TestSequence a(1, {1, 2, 3}, {0, 1});
  a.attention = {AttentionMode::kTidal, 2, 0};
  ASSERT_TRUE(executor.Execute({{a.Prefill(3)}}).ok());
  a.num_computed_tokens = 3;
  a.tokens.push_back(4);
  auto out = executor.Execute({{a.Decode()}});
  ASSERT_TRUE(out.ok());
  EXPECT_TRUE(out->sequences[0].ran_sparse);
  EXPECT_EQ(out->stats.sparse_rows, 1);

  TestSequence b(2, {1, 2, 3, 4, 5}, {0, 2});
  b.num_computed_tokens = 3;
  ASSERT_TRUE(executor.Execute({{b.Prefill(2)}}).ok());  // overwrites position 3 densely

  TestSequence c(3, {1, 2, 3, 4, 6}, {0, 4});
  c.num_computed_tokens = 4;
  EXPECT_TRUE(executor.Execute({{c.Prefill(1)}}).ok());
  a.num_computed_tokens = 3;
  ASSERT_TRUE(executor.Execute({{a.Decode()}}).ok());
  EXPECT_THAT(ErrorOf(executor, {c.Prefill(1)}), HasSubstr("decoded sparsely by sequence 1"));
}

TEST(FakeExecutorTest, ShapeErrorsNameTheSequence) {
  const TestSequence a(7, {1, 2, 3, 4, 5}, {0, 1});
  {
    FakeExecutor executor(Options());
    EXPECT_THAT(ErrorOf(executor, {a.Prefill(6)}),
                HasSubstr("sequence 7: runs tokens [0, 6) of 5"));
  }
  {
    FakeExecutor executor(Options());
    EXPECT_THAT(ErrorOf(executor, {a.Prefill(5), a.Prefill(5)}),
                HasSubstr("sequence 7 in slot 6: the slot is another's in the same step"));
  }
  {
    FakeExecutor executor(Options());
    TestSequence b = a;
    b.blocks = {0};
    EXPECT_THAT(ErrorOf(executor, {b.Prefill(5)}), HasSubstr("block table covers 4 of 5"));
    b.blocks = {0, 8};
    FakeExecutor other(Options());
    EXPECT_THAT(ErrorOf(other, {b.Prefill(5)}), HasSubstr("out of range"));
  }
  {
    FakeExecutor executor(Options());
    TestSequence b(8, {1, 2, 3}, {0});
    EXPECT_THAT(ErrorOf(executor, {a.Prefill(5), b.Prefill(3)}),
                HasSubstr("also written by sequence 7"));
  }
}

TEST(FakeExecutorTest, StepsMayRelyOnWhatTheSlotHasOnly) {
  const TestSequence a(7, {1, 2, 3, 4, 5, 6}, {0, 1});
  const auto error_after = [&](auto change) {
    FakeExecutor executor(Options());
    EXPECT_EQ(ErrorOf(executor, {a.Prefill(3)}), "");
    ScheduledSequence next = a.Prefill(3);
    next.num_computed_tokens = 3;
    next.wanted = Wanted::kLastToken;
    next.new_in_slot = false;
    next.num_sent_blocks = 2;
    change(next);
    return ErrorOf(executor, {next});
  };
  EXPECT_EQ(error_after([](auto&) {}), "");
  EXPECT_THAT(error_after([](auto& s) { s.slot = 5; }), HasSubstr("the slot is another's"));
  EXPECT_THAT(error_after([](auto& s) { s.num_sent_blocks = 3; }), HasSubstr("2 blocks, not 3"));
  EXPECT_THAT(error_after([](auto& s) { s.new_in_slot = true; }), HasSubstr("0 blocks, not 2"));
  const std::vector<BlockId> replaced = {0, 2};
  EXPECT_THAT(error_after([&](auto& s) { s.block_table = replaced; }),
              HasSubstr("not what the slot has"));
  EXPECT_THAT(error_after([](auto& s) { s.num_pending_tokens = 1; }),
              HasSubstr("no token is pending"));
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
  const TestSequence a(1, {1, 2, 3}, {0});
  EXPECT_TRUE(executor.Execute({{a.Prefill(3)}}).ok());
  EXPECT_EQ(executor.Execute({{a.Prefill(3)}}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(executor.Execute({{a.Prefill(3)}}).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tidal
