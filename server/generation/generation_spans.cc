#include "server/generation/generation_spans.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tidal {
namespace {

Span MakeRequestSpan(const GenerationSummary& summary, const TraceContext& context) {
  const std::string operation = summary.is_chat ? "chat" : "text_completion";
  const bool is_tidal = summary.attention.mode == AttentionMode::kTidal;
  Span span;
  span.context = context;
  span.parent_span_id = summary.caller.span_id;
  span.name = absl::StrCat(operation, " ", summary.model);
  span.kind = SpanKind::kServer;
  span.start = summary.arrival;
  span.end = summary.end;
  span.attributes = {{"gen_ai.operation.name", operation},
                     {"gen_ai.provider.name", "tidalserve"},
                     {"gen_ai.request.model", summary.model},
                     {"gen_ai.response.id", summary.request_id}};
  if (!summary.status.ok()) {
    // The message may quote the client; the code does not.
    span.error = absl::StatusCodeToString(summary.status.code());
    span.attributes.push_back({"error.type", span.error});
  }
  if (summary.outputs.empty()) return span;  // refused: there is no more to say
  const std::vector<std::string> reasons = absl::StrSplit(summary.finish, ',');
  const auto add = [&span](const char* key, auto value) {
    span.attributes.push_back({key, std::move(value)});
  };
  add("gen_ai.request.max_tokens", int64_t{summary.max_tokens});
  add("gen_ai.request.choice.count", int64_t{summary.n});
  add("gen_ai.usage.input_tokens", int64_t{summary.prompt_tokens});
  add("gen_ai.usage.output_tokens", int64_t{summary.completion_tokens});
  add("gen_ai.response.finish_reasons", reasons);
  add("tidal.cached_tokens", int64_t{summary.cached_tokens});
  add("tidal.preemptions", int64_t{summary.preemptions});
  add("tidal.attention.mode", std::string(is_tidal ? "tidal" : "full"));
  add("tidal.attention.budget", int64_t{is_tidal ? summary.attention.token_budget : 0});
  add("tidal.attention.sparse_steps", int64_t{summary.sparse_steps});
  add("tidal.attention.dense_steps", int64_t{summary.dense_steps});
  if (summary.time_to_first_token != absl::InfiniteDuration()) {
    add("gen_ai.server.time_to_first_token", absl::ToDoubleSeconds(summary.time_to_first_token));
  }
  return span;
}

// A phase lasts until the next one began, or the output ended; one that never began has no span.
void AddPhases(const FinishInfo& output, int64_t index, const TraceContext& parent,
               const Tracer& tracer, std::vector<Span>* spans) {
  const struct {
    const char* name;
    absl::Time start, next;
  } phases[] = {{"queue", output.arrival, output.first_scheduled},
                {"prefill", output.first_scheduled, output.first_token},
                {"decode", output.first_token, absl::InfinitePast()}};
  for (const auto& phase : phases) {
    if (phase.start == absl::InfinitePast()) return;
    Span span;
    span.context = tracer.NewSpan(parent);
    span.parent_span_id = parent.span_id;
    span.name = phase.name;
    span.start = phase.start;
    // A clock that was set back in between must not make a negative time.
    span.end =
        std::max(phase.start, phase.next == absl::InfinitePast() ? output.finish : phase.next);
    span.attributes.push_back({"tidal.output.index", index});
    spans->push_back(std::move(span));
  }
}

}  // namespace

std::vector<Span> MakeGenerationSpans(const GenerationSummary& summary, const TraceContext& span,
                                      const Tracer& tracer) {
  std::vector<Span> spans = {MakeRequestSpan(summary, span)};
  for (size_t i = 0; i < summary.outputs.size(); ++i) {
    AddPhases(summary.outputs[i], static_cast<int64_t>(i), span, tracer, &spans);
  }
  return spans;
}

}  // namespace tidal
