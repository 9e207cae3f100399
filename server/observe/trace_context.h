// W3C Trace Context (level 1): which trace a request belongs to, as its caller says in the headers
// "traceparent" and "tracestate", over HTTP and as gRPC metadata.
#ifndef TIDAL_SERVER_OBSERVE_TRACE_CONTEXT_H_
#define TIDAL_SERVER_OBSERVE_TRACE_CONTEXT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace tidal {

inline constexpr char kTraceParentHeader[] = "traceparent";
inline constexpr char kTraceStateHeader[] = "tracestate";

// A place in a trace: the span that what follows is a child of.
struct TraceContext {
  std::string trace_id;  // 32 lower-case hexadecimal digits; empty: no trace
  std::string span_id;   // 16 of them
  bool sampled = false;  // the spans of this trace are to be recorded
  std::string state;     // of other tracing systems, passed on as it came

  bool valid() const { return !trace_id.empty(); }
};

// What the headers say. Several headers of one name are given joined with commas. Not valid() where
// traceparent is missing or malformed; without state where only tracestate is.
TraceContext ParseTraceContext(absl::string_view trace_parent, absl::string_view trace_state);

// The header traceparent. Precondition: context.valid().
std::string FormatTraceParent(const TraceContext& context);

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_TRACE_CONTEXT_H_
