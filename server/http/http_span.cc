#include "server/http/http_span.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace tidal {

HttpSpan::HttpSpan(Tracer* tracer, const HttpRequest& request, const std::string& route)
    : tracer_(tracer != nullptr && tracer->exports() ? tracer : nullptr),
      caller_(ParseTraceContext(request.trace_parent, request.trace_state)),
      context_(tracer_ == nullptr ? caller_ : tracer_->NewSpan(caller_)),
      method_(request.method),
      route_(route),
      start_(absl::Now()) {}

void HttpSpan::End(int status, const std::string& error) {
  if (tracer_ == nullptr || std::exchange(ended_, true)) return;
  Span span;
  span.context = context_;
  span.parent_span_id = caller_.span_id;
  span.name = absl::StrCat(method_, " ", route_);
  span.kind = SpanKind::kServer;
  span.start = start_;
  span.end = absl::Now();
  span.attributes = {{"http.request.method", method_},
                     {"http.route", route_},
                     {"http.response.status_code", int64_t{status}}};
  // A client's mistake is no error of the server's span.
  span.error = error.empty() && status >= 500 ? absl::StrCat(status) : error;
  if (!span.error.empty()) span.attributes.push_back({"error.type", span.error});
  tracer_->Export({std::move(span)});
}

}  // namespace tidal
