// Spans as OTLP's ExportTraceServiceRequest in JSON.
#ifndef TIDAL_SERVER_OBSERVE_OTLP_JSON_H_
#define TIDAL_SERVER_OBSERVE_OTLP_JSON_H_

#include <string>
#include <vector>

#include "server/observe/span.h"

namespace tidal {

// `resource` describes the process that made the spans.
std::string RenderOtlpJson(const std::vector<SpanAttribute>& resource,
                           const std::vector<Span>& spans);

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_OTLP_JSON_H_
