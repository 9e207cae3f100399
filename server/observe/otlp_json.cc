#include "server/observe/otlp_json.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

using Json = nlohmann::json;

// Protobuf's JSON has 64-bit integers as strings.
struct ValueRenderer {
  Json operator()(int64_t value) const { return {{"intValue", absl::StrCat(value)}}; }
  Json operator()(double value) const { return {{"doubleValue", value}}; }
  Json operator()(const std::string& value) const { return {{"stringValue", value}}; }
  Json operator()(const std::vector<std::string>& values) const {
    Json array = Json::array();
    for (const std::string& value : values) array.push_back((*this)(value));
    return {{"arrayValue", {{"values", std::move(array)}}}};
  }
};

Json RenderAttributes(const std::vector<SpanAttribute>& attributes) {
  Json array = Json::array();
  for (const SpanAttribute& attribute : attributes) {
    array.push_back(
        {{"key", attribute.key}, {"value", std::visit(ValueRenderer(), attribute.value)}});
  }
  return array;
}

int KindNumber(SpanKind kind) { return kind == SpanKind::kServer ? 2 : 1; }

constexpr int kStatusError = 2;

Json RenderSpan(const Span& span) {
  Json json = {{"traceId", span.context.trace_id},
               {"spanId", span.context.span_id},
               {"name", span.name},
               {"kind", KindNumber(span.kind)},
               {"startTimeUnixNano", absl::StrCat(absl::ToUnixNanos(span.start))},
               {"endTimeUnixNano", absl::StrCat(absl::ToUnixNanos(span.end))},
               {"attributes", RenderAttributes(span.attributes)}};
  if (!span.parent_span_id.empty()) json["parentSpanId"] = span.parent_span_id;
  if (!span.context.state.empty()) json["traceState"] = span.context.state;
  if (!span.error.empty()) json["status"] = {{"code", kStatusError}, {"message", span.error}};
  return json;
}

}  // namespace

std::string RenderOtlpJson(const std::vector<SpanAttribute>& resource,
                           const std::vector<Span>& spans) {
  Json rendered = Json::array();
  for (const Span& span : spans) rendered.push_back(RenderSpan(span));
  const Json scope_spans = {{"scope", {{"name", "tidalserve"}}}, {"spans", std::move(rendered)}};
  const Json resource_spans = {{"resource", {{"attributes", RenderAttributes(resource)}}},
                               {"scopeSpans", Json::array({scope_spans})}};
  const Json request = {{"resourceSpans", Json::array({resource_spans})}};
  // Names of models and ids of requests come from outside; bytes that are no UTF-8 are replaced.
  return request.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tidal
