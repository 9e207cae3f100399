#include "engine/step/owned_step.h"

#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/test_sequence.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;

TEST(OwnedStepTest, OutlivesTheViewsOfItsOriginal) {
  auto first =
      std::make_unique<TestSequence>(1, std::vector<TokenId>{5, 6, 7}, std::vector<BlockId>{3, 4});
  auto second = std::make_unique<TestSequence>(2, std::vector<TokenId>{8}, std::vector<BlockId>{});
  auto draft = std::make_unique<std::vector<TokenId>>(std::vector<TokenId>{20, 21});
  first->num_computed_tokens = 2;
  first->sampling.logit_bias = {{7, 1.5f}};
  first->sampling.banned_tokens = {1, 2};
  first->attention = {AttentionMode::kTidal, 64, 128};
  auto input = std::make_unique<StepInput>();
  input->sequences = {first->Verify(*draft), second->Prefill(1)};
  input->sequences[1].masked = true;
  input->sequences[1].num_pending_tokens = 1;

  const OwnedStep owned(*input);
  for (TestSequence* sequence : {first.get(), second.get()}) {
    sequence->tokens.assign(sequence->tokens.size(), -1);
    sequence->blocks.assign(sequence->blocks.size(), -1);
    sequence->sampling = {};
  }
  draft->assign(2, -1);
  input.reset();
  draft.reset();
  first.reset();
  second.reset();

  ASSERT_EQ(owned.step().sequences.size(), 2u);
  EXPECT_TRUE(owned.step().masked());
  const ScheduledSequence &a = owned.step().sequences[0], &b = owned.step().sequences[1];
  EXPECT_THAT(a.tokens, ElementsAre(5, 6, 7));
  EXPECT_THAT(a.block_table, ElementsAre(3, 4));
  EXPECT_THAT(a.draft, ElementsAre(20, 21));
  EXPECT_EQ(a.sampling->logit_bias.at(0).second, 1.5f);
  EXPECT_THAT(a.sampling->banned_tokens, ElementsAre(1, 2));
  // What is no view is copied as it is.
  EXPECT_EQ(a.id, 1u);
  EXPECT_EQ(a.kind, RowKind::kVerify);
  EXPECT_EQ(a.num_computed_tokens, 2);
  EXPECT_EQ(a.num_new_tokens, 3);
  EXPECT_EQ(a.attention.token_budget, 64);
  EXPECT_FALSE(a.masked);
  EXPECT_THAT(b.tokens, ElementsAre(8));
  EXPECT_TRUE(b.block_table.empty());
  EXPECT_EQ(b.num_pending_tokens, 1);
  EXPECT_EQ(b.sampling->temperature, 0);
}

TEST(OwnedStepTest, MayBeEmpty) { EXPECT_TRUE(OwnedStep({}).step().sequences.empty()); }

}  // namespace
}  // namespace tidal
