// The spans of one request: the server's own, and below it, for each output, its time in the queue,
// in prefill and in decode. Names of attributes are OpenTelemetry's for generative AI.
#ifndef TIDAL_SERVER_GENERATION_GENERATION_SPANS_H_
#define TIDAL_SERVER_GENERATION_GENERATION_SPANS_H_

#include <vector>

#include "server/generation/generation.h"
#include "server/observe/span.h"
#include "server/observe/tracer.h"

namespace tidal {

// `span` is the request's own place in its trace.
std::vector<Span> MakeGenerationSpans(const GenerationSummary& summary, const TraceContext& span,
                                      const Tracer& tracer);

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_GENERATION_SPANS_H_
