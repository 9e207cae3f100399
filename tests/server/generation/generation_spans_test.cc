#include "server/generation/generation_spans.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidal {
namespace {

using ::testing::ElementsAre;

const absl::Time kArrival = absl::FromUnixMillis(1'700'000'000'000);

absl::Time At(int milliseconds) { return kArrival + absl::Milliseconds(milliseconds); }

GenerationSummary Summary() {
  GenerationSummary summary;
  summary.request_id = "id";
  summary.model = "nano";
  summary.caller = ParseTraceContext("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01", "");
  summary.finish = "stop";
  summary.n = 1;
  summary.prompt_tokens = 7;
  summary.completion_tokens = 3;
  summary.arrival = kArrival;
  summary.end = At(100);
  FinishInfo output;
  output.arrival = kArrival;
  output.first_scheduled = At(10);
  output.first_token = At(40);
  output.finish = At(90);
  summary.outputs = {output};
  return summary;
}

class GenerationSpansTest : public testing::Test {
 protected:
  std::vector<Span> Make(const GenerationSummary& summary) {
    own_ = tracer_.NewSpan(summary.caller);
    return MakeGenerationSpans(summary, own_, tracer_);
  }

  const Tracer tracer_{{}, "test"};
  TraceContext own_;
};

std::vector<std::string> Names(const std::vector<Span>& spans) {
  std::vector<std::string> names;
  for (const Span& span : spans) names.push_back(span.name);
  return names;
}

template <typename Value>
Value Attribute(const Span& span, const std::string& key) {
  for (const SpanAttribute& attribute : span.attributes) {
    if (attribute.key == key) return std::get<Value>(attribute.value);
  }
  ADD_FAILURE() << "no attribute " << key;
  return Value();
}

TEST_F(GenerationSpansTest, PhasesFollowEachOtherBelowTheRequest) {
  const GenerationSummary summary = Summary();
  const std::vector<Span> spans = Make(summary);
  ASSERT_THAT(Names(spans), ElementsAre("text_completion nano", "queue", "prefill", "decode"));
  EXPECT_EQ(spans[0].context.span_id, own_.span_id);
  EXPECT_EQ(spans[0].parent_span_id, summary.caller.span_id);
  EXPECT_EQ(spans[0].kind, SpanKind::kServer);
  for (size_t i = 1; i < spans.size(); ++i) {
    EXPECT_EQ(spans[i].parent_span_id, own_.span_id);
    EXPECT_EQ(spans[i].context.trace_id, summary.caller.trace_id);
    EXPECT_EQ(spans[i].kind, SpanKind::kInternal);
  }
  EXPECT_EQ(spans[0].start, kArrival);
  EXPECT_EQ(spans[1].start, kArrival);
  EXPECT_EQ(spans[1].end, At(10));
  EXPECT_EQ(spans[2].start, At(10));
  EXPECT_EQ(spans[2].end, At(40));
  EXPECT_EQ(spans[3].start, At(40));
  EXPECT_EQ(spans[3].end, At(90));
  EXPECT_EQ(spans[0].end, At(100));
}

TEST_F(GenerationSpansTest, SaysWhatWasAskedAndDone) {
  GenerationSummary summary = Summary();
  summary.is_chat = true;
  summary.attention = {AttentionMode::kTidal, 64, 64};
  summary.cached_tokens = 5;
  summary.preemptions = 2;
  summary.n = 2;
  summary.finish = "stop,length";
  summary.outputs.push_back(summary.outputs.front());
  const std::vector<Span> spans = Make(summary);
  EXPECT_THAT(Names(spans),
              ElementsAre("chat nano", "queue", "prefill", "decode", "queue", "prefill", "decode"));
  const Span& request = spans.front();
  EXPECT_EQ(Attribute<std::string>(request, "gen_ai.request.model"), "nano");
  EXPECT_EQ(Attribute<std::string>(request, "gen_ai.operation.name"), "chat");
  EXPECT_EQ(Attribute<int64_t>(request, "gen_ai.usage.input_tokens"), 7);
  EXPECT_EQ(Attribute<int64_t>(request, "gen_ai.usage.output_tokens"), 3);
  EXPECT_THAT(Attribute<std::vector<std::string>>(request, "gen_ai.response.finish_reasons"),
              ElementsAre("stop", "length"));
  EXPECT_EQ(Attribute<std::string>(request, "tidal.attention.mode"), "tidal");
  EXPECT_EQ(Attribute<int64_t>(request, "tidal.attention.budget"), 64);
  EXPECT_EQ(Attribute<int64_t>(request, "tidal.cached_tokens"), 5);
  EXPECT_EQ(Attribute<int64_t>(request, "tidal.preemptions"), 2);
  EXPECT_EQ(Attribute<int64_t>(spans.back(), "tidal.output.index"), 1);
  EXPECT_EQ(request.error, "");
}

TEST_F(GenerationSpansTest, WhatNeverBeganHasNoSpan) {
  GenerationSummary waiting = Summary();
  waiting.status = absl::DeadlineExceededError("the client's words");
  waiting.outputs[0].first_scheduled = absl::InfinitePast();
  waiting.outputs[0].first_token = absl::InfinitePast();
  std::vector<Span> spans = Make(waiting);
  EXPECT_THAT(Names(spans), ElementsAre("text_completion nano", "queue"));
  EXPECT_EQ(spans[1].end, At(90)) << "it waited until it was given up";
  EXPECT_EQ(spans[0].error, "DEADLINE_EXCEEDED") << "the code, not the message";

  GenerationSummary refused = Summary();
  refused.status = absl::InvalidArgumentError("the client's words");
  refused.outputs.clear();
  refused.finish.clear();
  spans = Make(refused);
  EXPECT_THAT(Names(spans), ElementsAre("text_completion nano"));
  EXPECT_EQ(Attribute<std::string>(spans[0], "error.type"), "INVALID_ARGUMENT");
}

TEST_F(GenerationSpansTest, AClockSetBackMakesNoNegativeTime) {
  GenerationSummary summary = Summary();
  summary.outputs[0].first_scheduled = At(-50);
  for (const Span& span : Make(summary)) EXPECT_GE(span.end, span.start) << span.name;
}

}  // namespace
}  // namespace tidal
