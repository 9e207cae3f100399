#include "server/generation/generation_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "scheduler/retry_after.h"
#include "tests/server/generation/service_harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kModelLabels[] = R"({engine="0",model_name="tidal-nano"})";

std::string WithLabels(const std::string& name) { return name + kModelLabels; }

// Holds the loop in its steps until released.
class Gate {
 public:
  std::function<void(const StepInput&)> Hook() {
    return [this](const StepInput&) {
      if (!reached_.HasBeenNotified()) reached_.Notify();
      open_.WaitForNotification();
    };
  }
  // Until a step stands before it.
  void Await() { reached_.WaitForNotification(); }
  void Open() { open_.Notify(); }

 private:
  absl::Notification reached_, open_;
};

TEST(GenerationServiceTest, GivesPromptDeltasFinishAndUsageInThisOrder) {
  ServiceHarness harness;
  harness.Say("Hello there.");
  v1::GenerateRequest request = harness.MakeRequest();
  request.set_request_id("r1");
  const Reply reply = harness.Run(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status;
  EXPECT_EQ(reply.prompt->request_id(), "r1");
  EXPECT_EQ(reply.prompt->model(), "tidal-nano");
  EXPECT_EQ(reply.prompt->prompt_tokens(), 3);
  EXPECT_EQ(reply.prompt->token_ids_size(), 0);
  ASSERT_EQ(reply.outputs.size(), 1);
  EXPECT_EQ(reply.outputs[0].text, "Hello there.");
  EXPECT_EQ(reply.outputs[0].finish->reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(reply.outputs[0].finish->stop_token_id(), kEndToken);
  EXPECT_EQ(reply.usage->prompt_tokens(), 3);
  EXPECT_EQ(reply.usage->completion_tokens(), reply.outputs[0].num_tokens);
}

TEST(GenerationServiceTest, MaxTokensEndsWithLength) {
  ServiceHarness harness;
  harness.Say("1234567890");
  v1::GenerateRequest request = harness.MakeRequest();
  request.mutable_stopping()->set_max_tokens(4);
  const Reply reply = harness.Run(request);
  EXPECT_EQ(reply.outputs[0].text, "1234");
  EXPECT_EQ(reply.outputs[0].finish->reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(reply.usage->completion_tokens(), 4);
}

TEST(GenerationServiceTest, StopStringEndsTheSequenceInTheLoopToo) {
  ServiceHarness harness;
  harness.Say("12345678901234567890123456789012345678901234567890");
  v1::GenerateRequest request = harness.MakeRequest();
  request.mutable_stopping()->add_stop("56");
  request.mutable_output()->set_return_token_ids(true);
  const Reply reply = harness.Run(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status;
  EXPECT_EQ(reply.outputs[0].text, "1234");
  EXPECT_EQ(reply.outputs[0].finish->stop_string(), "56");
  EXPECT_EQ(reply.outputs[0].token_ids.size(), 6);
  EXPECT_EQ(reply.usage->completion_tokens(), 6);
  EXPECT_EQ(harness.loop().stats().running, 0);
}

TEST(GenerationServiceTest, EveryOutputIsComplete) {
  ServiceHarness harness;
  harness.Say("1234567890");
  v1::GenerateRequest request = harness.MakeRequest();
  request.set_n(5);
  request.mutable_output()->set_return_token_ids(true);
  const Reply reply = harness.Run(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status;
  ASSERT_EQ(reply.outputs.size(), 5);
  for (const Reply::Output& output : reply.outputs) {
    EXPECT_EQ(output.text, "1234567890");
    EXPECT_TRUE(output.finish.has_value());
  }
  EXPECT_EQ(reply.usage->prompt_tokens(), 3);
  EXPECT_EQ(reply.usage->completion_tokens(), 55);
  EXPECT_THAT(reply.prompt->token_ids(), ElementsAre(100, 101, 102));
}

TEST(GenerationServiceTest, OutputIUsesSeedPlusI) {
  std::vector<uint64_t> seeds;
  HarnessOptions options;
  options.on_step = [&seeds](const StepInput& input) {
    for (const ScheduledSequence& sequence : input.sequences) {
      seeds.push_back(sequence.sampling->seed);
    }
  };
  ServiceHarness harness(options);
  v1::GenerateRequest request = harness.MakeRequest();
  request.set_n(3);
  request.mutable_sampling()->set_seed(40);
  request.mutable_stopping()->set_max_tokens(1);
  harness.Run(request);
  harness.WaitUntilIdle();
  EXPECT_THAT(seeds, ::testing::UnorderedElementsAre(40, 41, 42));
}

TEST(GenerationServiceTest, LogprobsHaveAsManyAlternativesAsAsked) {
  ServiceHarness harness;
  harness.Say("12");
  v1::GenerateRequest request = harness.MakeRequest();
  request.mutable_output()->set_logprobs(2);
  const Reply reply = harness.Run(request);
  ASSERT_EQ(reply.outputs[0].logprobs.size(), 3);  // the end token too
  EXPECT_EQ(reply.outputs[0].logprobs[0].token().token(), "1");
  EXPECT_EQ(reply.outputs[0].logprobs[0].top_size(), 2);
  request.mutable_output()->set_logprobs(0);
  EXPECT_EQ(harness.Run(request).outputs[0].logprobs[0].top_size(), 0);
}

TEST(GenerationServiceTest, EchoPutsThePromptFirst) {
  ServiceHarness harness;
  harness.Say("12");
  v1::GenerateRequest request = harness.MakeRequest();
  request.mutable_output()->set_echo(true);
  request.mutable_output()->set_final_only(true);
  const std::string prompt = harness.model().tokenizer->Decode({100, 101, 102}, true);
  const Reply reply = harness.Run(request);
  EXPECT_EQ(reply.outputs[0].text, prompt + "12");
  EXPECT_EQ(reply.outputs[0].deltas, 1);
}

TEST(GenerationServiceTest, UsageSaysHowAttentionRan) {
  ServiceHarness harness;
  harness.Say("123456789012345678901234567890");
  v1::GenerateRequest request = harness.MakeRequest();
  request.mutable_stopping()->set_max_tokens(20);
  const Reply tidal = harness.Run(request);
  // Contexts 4 .. 10 are at most dense_below, 11 .. 22 are sparse; the first token is no decode
  // step.
  EXPECT_EQ(tidal.usage->attention().mode(), v1::ATTENTION_MODE_TIDAL);
  EXPECT_EQ(tidal.usage->attention().budget(), 8);
  EXPECT_EQ(tidal.usage->attention().dense_steps(), 7);
  EXPECT_EQ(tidal.usage->attention().sparse_steps(), 12);

  request.mutable_attention()->set_mode(v1::ATTENTION_MODE_FULL);
  const Reply full = harness.Run(request);
  EXPECT_EQ(full.usage->attention().mode(), v1::ATTENTION_MODE_FULL);
  EXPECT_EQ(full.usage->attention().budget(), 0);
  EXPECT_EQ(full.usage->attention().sparse_steps(), 0);
  EXPECT_EQ(full.usage->attention().dense_steps(), 19);
}

TEST(GenerationServiceTest, CachedPromptTokensAreReported) {
  ServiceHarness harness;
  v1::GenerateRequest request;
  for (uint32_t i = 0; i < 40; ++i) request.mutable_token_ids()->add_ids(200 + i);
  request.mutable_stopping()->set_max_tokens(1);
  EXPECT_EQ(harness.Run(request).usage->cached_tokens(), 0);
  EXPECT_EQ(harness.Run(request).usage->cached_tokens(), 32);  // whole blocks
  request.set_cache_salt("another client");
  EXPECT_EQ(harness.Run(request).usage->cached_tokens(), 0);
}

TEST(GenerationServiceTest, BadRequestsEndWithTheirError) {
  ServiceHarness harness;
  v1::GenerateRequest request = harness.MakeRequest();
  request.set_n(1000);
  const Reply reply = harness.Run(request);
  EXPECT_TRUE(absl::IsInvalidArgument(reply.status));
  EXPECT_FALSE(reply.prompt.has_value());
}

TEST(GenerationServiceTest, CancelFreesTheSequences) {
  Gate gate;
  HarnessOptions options;
  options.on_step = gate.Hook();
  ServiceHarness harness(options);
  harness.Say(std::vector<TokenId>{200});  // never ends
  v1::GenerateRequest request = harness.MakeRequest();
  request.set_n(3);
  const auto generation = harness.service().Start(request, {});
  gate.Await();
  generation->Cancel();
  gate.Open();
  const Generation::Item item = generation->WaitNext();
  ASSERT_TRUE(item.end.has_value());
  EXPECT_TRUE(absl::IsCancelled(*item.end));
  harness.WaitUntilIdle();
  EXPECT_EQ(harness.loop().stats().free_blocks, harness.loop().stats().num_blocks);
}

TEST(GenerationServiceTest, NothingIsSaidBeforeThereIsAnAnswer) {
  Gate gate;
  HarnessOptions options;
  options.on_step = gate.Hook();
  ServiceHarness harness(options);
  harness.Say("ab");
  const auto generation = harness.service().Start(harness.MakeRequest(), {});
  Generation::Item first;
  absl::Notification said;
  std::thread reader([&] {
    first = generation->WaitNext();
    said.Notify();
  });
  gate.Await();
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_FALSE(said.HasBeenNotified());
  gate.Open();
  reader.join();
  ASSERT_TRUE(first.event.has_value());
  EXPECT_TRUE(first.event->has_prompt());
  EXPECT_TRUE(generation->WaitNext().event->has_delta());
}

TEST(GenerationServiceTest, CancelBeforeTheRequestIsReadWorks) {
  ServiceHarness harness;
  const auto generation = harness.service().Start(harness.MakeRequest(), {});
  generation->Cancel();
  EXPECT_TRUE(absl::IsCancelled(*generation->WaitNext().end));
}

TEST(GenerationServiceTest, DeadlineEndsTheRequest) {
  HarnessOptions options;
  options.on_step = [](const StepInput&) { absl::SleepFor(absl::Milliseconds(5)); };
  ServiceHarness harness(options);
  harness.Say(std::vector<TokenId>{200});
  Caller caller;
  caller.deadline = absl::Now() + absl::Milliseconds(50);
  const auto generation = harness.service().Start(harness.MakeRequest(), caller);
  Generation::Item item;
  do {
    item = generation->WaitNext();
  } while (!item.end.has_value());
  EXPECT_TRUE(absl::IsDeadlineExceeded(*item.end)) << *item.end;
}

TEST(GenerationServiceTest, AFullQueueIsResourceExhausted) {
  Gate gate;
  HarnessOptions options;
  options.max_queued_requests = 4;
  options.on_step = gate.Hook();
  ServiceHarness harness(options);
  v1::GenerateRequest request = harness.MakeRequest();
  request.set_n(100);  // nothing waits, so it may
  const auto first = harness.service().Start(request, {});
  while (harness.loop().stats().waiting < 100) absl::SleepFor(absl::Milliseconds(1));
  const absl::Status refused = harness.Run(harness.MakeRequest()).status;
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_EQ(RetryAfterOf(refused), 1);
  Caller other;
  other.tenant = "other";
  const auto second = harness.service().Start(harness.MakeRequest(), other);  // has its own share
  gate.Open();
  for (Generation* generation : {first.get(), second.get()}) {
    Generation::Item item;
    do {
      item = generation->WaitNext();
    } while (!item.end.has_value());
    EXPECT_TRUE(item.end->ok()) << *item.end;
  }
  EXPECT_EQ(harness.Metric("tidal:requests_refused_total{engine=\"0\",model_name=\"tidal-nano\","
                           "reason=\"queue_full\"}"),
            1);
  harness.WaitUntilIdle();
}

TEST(GenerationServiceTest, WhatIsRefusedIsCountedByReason) {
  ServiceHarness harness;
  const auto refused = [&harness](const std::string& reason) {
    return harness.Metric(
        absl::StrCat("tidal:requests_refused_total{engine=\"0\","
                     "model_name=\"tidal-nano\",reason=\"",
                     reason, "\"}"));
  };
  v1::GenerateRequest invalid = harness.MakeRequest();
  invalid.set_n(1000);
  EXPECT_TRUE(absl::IsInvalidArgument(harness.Run(invalid).status));
  EXPECT_EQ(refused("invalid"), 1);
  harness.service().SetStalled(true);
  EXPECT_TRUE(absl::IsUnavailable(harness.Run(harness.MakeRequest()).status));
  EXPECT_EQ(refused("unavailable"), 1);
  harness.service().SetStalled(false);
  EXPECT_TRUE(harness.Run(harness.MakeRequest()).status.ok());
  EXPECT_EQ(refused("queue_full") + refused("queue_time"), 0);
}

TEST(GenerationServiceTest, LiveRequestsAreBounded) {
  Gate gate;
  HarnessOptions options;
  options.on_step = gate.Hook();
  options.service.max_live_requests = 2;
  ServiceHarness harness(options);
  auto first = harness.service().Start(harness.MakeRequest(), {});
  auto second = harness.service().Start(harness.MakeRequest(), {});
  EXPECT_TRUE(absl::IsResourceExhausted(harness.Run(harness.MakeRequest()).status));
  gate.Open();
}

TEST(GenerationServiceTest, RefusesWhenItStopsAccepting) {
  ServiceHarness harness;
  harness.service().StopAccepting();
  const Reply reply = harness.Run(harness.MakeRequest());
  EXPECT_TRUE(absl::IsUnavailable(reply.status));
}

TEST(GenerationServiceTest, ABrokenModelEndsRequestsWithUnavailable) {
  HarnessOptions options;
  options.fail_at_step = 3;
  ServiceHarness harness(options);
  harness.Say("1234567890");
  const Reply reply = harness.Run(harness.MakeRequest());
  EXPECT_TRUE(absl::IsUnavailable(reply.status)) << reply.status;
  EXPECT_FALSE(reply.usage.has_value());
  EXPECT_TRUE(absl::IsUnavailable(harness.Run(harness.MakeRequest()).status));
}

TEST(GenerationServiceTest, AClientThatStopsReadingHoldsNobodyUp) {
  ServiceHarness harness;
  harness.Say("1234567890");
  const auto unread = harness.service().Start(harness.MakeRequest(), {});
  EXPECT_EQ(harness.Run(harness.MakeRequest()).outputs[0].text, "1234567890");
  harness.WaitUntilIdle();
  // What it did not take has become one piece.
  Reply late;
  int events = 0;
  while (true) {
    Generation::Item item = unread->WaitNext();
    if (!item.event.has_value()) break;
    late.Add(*item.event);
    ++events;
  }
  EXPECT_EQ(late.outputs[0].text, "1234567890");
  EXPECT_LE(events, 3 + 11);
}

TEST(GenerationServiceTest, ManyRequestsAtOnceAreAllAnswered) {
  HarnessOptions options;
  options.max_queued_requests = 1000;
  ServiceHarness harness(options);
  harness.Say("12345678901234567890");
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      for (int j = 0; j < 20; ++j) {
        v1::GenerateRequest request = harness.MakeRequest();
        request.set_n(1 + j % 3);
        const Reply reply = harness.Run(request);
        bool all = reply.status.ok() && reply.outputs.size() == 1 + j % 3;
        for (const auto& output : reply.outputs) all = all && output.text == "12345678901234567890";
        right += all;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 160);
  harness.WaitUntilIdle();
  EXPECT_EQ(harness.Metric(WithLabels("vllm:num_requests_running")), 0);
  EXPECT_EQ(harness.Metric(WithLabels("vllm:kv_cache_usage_perc")), 0);
}

TEST(GenerationServiceTest, MetricsAndSummaryTellWhatHappened) {
  absl::Mutex mutex;
  std::vector<GenerationSummary> summaries;
  HarnessOptions options;
  options.service.on_request_end = [&](const GenerationSummary& summary) {
    absl::MutexLock lock(&mutex);
    summaries.push_back(summary);
  };
  ServiceHarness harness(options);
  harness.Say("123456789");
  v1::GenerateRequest request = harness.MakeRequest();
  request.set_request_id("r7");
  request.mutable_sampling()->set_temperature(0);
  harness.Run(request);  // 10 tokens, stop
  request.set_n(2);
  request.mutable_stopping()->set_max_tokens(4);
  harness.Run(request);  // twice 4 tokens, length
  harness.WaitUntilIdle();

  EXPECT_EQ(harness.Metric(WithLabels("vllm:prompt_tokens_total")), 9);
  EXPECT_EQ(harness.Metric(WithLabels("vllm:generation_tokens_total")), 18);
  EXPECT_EQ(harness.Metric(WithLabels("vllm:time_to_first_token_seconds_count")), 3);
  EXPECT_EQ(harness.Metric(WithLabels("vllm:inter_token_latency_seconds_count")), 9 + 3 + 3);
  EXPECT_EQ(harness.Metric(WithLabels("vllm:e2e_request_latency_seconds_count")), 3);
  EXPECT_EQ(harness.Metric(WithLabels("vllm:request_params_n_count")), 2);
  EXPECT_EQ(harness.Metric(WithLabels("vllm:request_params_n_sum")), 3);
  EXPECT_EQ(harness.Metric(WithLabels("vllm:request_max_num_generation_tokens_sum")), 14);
  EXPECT_EQ(harness.Metric(R"(vllm:request_success_total{engine="0",finished_reason="stop",)"
                           R"(model_name="tidal-nano"})"),
            1);
  EXPECT_EQ(harness.Metric(R"(vllm:request_success_total{engine="0",finished_reason="length",)"
                           R"(model_name="tidal-nano"})"),
            2);

  absl::MutexLock lock(&mutex);
  ASSERT_EQ(summaries.size(), 2);
  EXPECT_EQ(summaries[0].request_id, "r7");
  EXPECT_EQ(summaries[0].finish, "stop");
  EXPECT_EQ(summaries[0].completion_tokens, 10);
  EXPECT_LT(summaries[0].time_to_first_token, absl::InfiniteDuration());
  EXPECT_EQ(summaries[1].finish, "length,length");
  EXPECT_EQ(summaries[1].n, 2);
}

}  // namespace
}  // namespace tidal
