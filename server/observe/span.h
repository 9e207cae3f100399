// One operation of a trace: what it was, when, and how it went. OpenTelemetry's model, as much of
// it as we say.
#ifndef TIDAL_SERVER_OBSERVE_SPAN_H_
#define TIDAL_SERVER_OBSERVE_SPAN_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "server/observe/trace_context.h"

namespace tidal {

enum class SpanKind { kInternal, kServer };

struct SpanAttribute {
  std::string key;
  std::variant<int64_t, double, std::string, std::vector<std::string>> value;
};

struct Span {
  TraceContext context;
  std::string parent_span_id;  // empty: the root of its trace
  std::string name;
  SpanKind kind = SpanKind::kInternal;
  absl::Time start, end;
  std::vector<SpanAttribute> attributes;  // nothing of what a client said or was told
  std::string error;                      // what went wrong, in a word; empty: nothing
};

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_SPAN_H_
