// Log probabilities of the prompt, and the prompt alone, through the service.
#include <gtest/gtest.h>

#include "tests/server/generation/service_harness.h"

namespace tidal {
namespace {

TEST(PromptLogprobsServiceTest, TheyComeWithThePrompt) {
  ServiceHarness harness;
  harness.Say("ab");
  v1::GenerateRequest request = harness.MakeRequest();
  request.mutable_output()->set_prompt_logprobs(2);
  request.set_n(3);
  const Reply reply = harness.Run(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status;
  ASSERT_EQ(reply.prompt->logprobs_size(), 3);
  const v1::TokenLogprobs& first = reply.prompt->logprobs(0);
  EXPECT_EQ(first.token().token_id(), 100);
  EXPECT_EQ(first.token().logprob(), 0);
  EXPECT_EQ(first.token().rank(), 0);
  EXPECT_EQ(first.top_size(), 0);
  const v1::TokenLogprobs& last = reply.prompt->logprobs(2);
  EXPECT_EQ(last.token().token_id(), 102);
  EXPECT_EQ(last.token().logprob(), -0.5f) << "as the fake has it for the third";
  EXPECT_EQ(last.token().rank(), 1);
  EXPECT_FALSE(last.token().token().empty());
  EXPECT_EQ(last.token().bytes(), last.token().token());
  ASSERT_EQ(last.top_size(), 2);
  EXPECT_EQ(last.top(1).token_id(), 103);
  EXPECT_EQ(last.top(1).rank(), 2);
  EXPECT_EQ(reply.outputs.size(), 3u);
  EXPECT_TRUE(reply.outputs[0].logprobs.empty()) << "of the output none are wanted";
}

// One output computes them; the others' first tokens wait for the prompt's event all the same.
TEST(PromptLogprobsServiceTest, OneOutputScoresThePrompt) {
  int scored = 0;
  HarnessOptions options;
  options.on_step = [&scored](const StepInput& input) {
    for (const ScheduledSequence& sequence : input.sequences) {
      scored += sequence.prompt_logprobs.count;
    }
  };
  ServiceHarness harness(options);
  harness.Say("ab");
  v1::GenerateRequest request = harness.MakeRequest();
  request.mutable_output()->set_prompt_logprobs(0);
  request.set_n(4);
  ASSERT_TRUE(harness.Run(request).status.ok());
  harness.WaitUntilIdle();
  EXPECT_EQ(scored, 2);
}

TEST(PromptLogprobsServiceTest, ThePromptAloneEndsWithLength) {
  ServiceHarness harness;
  v1::GenerateRequest request = harness.MakeRequest();
  request.mutable_stopping()->set_max_tokens(0);
  Reply reply = harness.Run(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status;
  EXPECT_EQ(reply.outputs[0].deltas, 0);
  EXPECT_EQ(reply.outputs[0].finish->reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(reply.usage->completion_tokens(), 0);
  EXPECT_EQ(reply.usage->prompt_tokens(), 3);

  request.mutable_output()->set_echo(true);
  request.mutable_output()->set_logprobs(1);
  reply = harness.Run(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status;
  EXPECT_FALSE(reply.outputs[0].text.empty());
  EXPECT_EQ(reply.outputs[0].num_tokens, 0);
  ASSERT_EQ(reply.prompt->logprobs_size(), 3);
  EXPECT_EQ(reply.prompt->logprobs(1).top_size(), 1);
}

}  // namespace
}  // namespace tidal
