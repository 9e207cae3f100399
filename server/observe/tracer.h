// Begins spans and hands ended ones to the exporter. With no endpoint configured nothing is
// exported, and callers' contexts are only passed on.
#ifndef TIDAL_SERVER_OBSERVE_TRACER_H_
#define TIDAL_SERVER_OBSERVE_TRACER_H_

#include <memory>
#include <string>
#include <vector>

#include "server/observe/span.h"
#include "server/observe/span_exporter.h"
#include "server/observe/trace_context.h"
#include "server/observe/tracing_options.h"

namespace tidal {

// Thread-safe.
class Tracer {
 public:
  // Precondition: options.Validate().
  Tracer(const TracingOptions& options, const std::string& program);

  bool exports() const { return exporter_ != nullptr; }

  // The context of a new span: a child of `parent` where that is valid, else the root of a new
  // trace, which is sampled by the ratio.
  TraceContext NewSpan(const TraceContext& parent) const;

  // Takes spans that have ended. Those of one call are of one trace. Never blocks.
  void Export(std::vector<Span> spans);

  // Prometheus text: tidal:spans_exported_total, tidal:spans_dropped_total{reason}.
  std::string RenderMetrics() const;

 private:
  const double sample_ratio_;
  std::unique_ptr<SpanExporter> exporter_;  // null: nothing is exported
};

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_TRACER_H_
