#include "server/observe/tracer.h"

#include <unistd.h>

#include <cstdint>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "server/observe/version.h"

namespace tidal {
namespace {

uint64_t RandomId() {
  static thread_local absl::BitGen random;
  return absl::Uniform<uint64_t>(absl::IntervalOpen, random, 0, ~uint64_t{0});  // 0 is no id
}

std::string Hex(uint64_t id) { return absl::StrCat(absl::Hex(id, absl::kZeroPad16)); }

std::string HostName() {
  char name[256] = "";
  if (gethostname(name, sizeof(name) - 1) != 0) return "unknown";
  return name;
}

std::vector<SpanAttribute> DescribeProcess(const std::string& service_name) {
  const std::string host = HostName();
  return {{"service.name", service_name},
          {"service.version", std::string(Version())},
          {"service.instance.id", absl::StrCat(host, ":", getpid())},
          {"host.name", host},
          {"process.pid", int64_t{getpid()}}};
}

}  // namespace

Tracer::Tracer(const TracingOptions& options, const std::string& program)
    : sample_ratio_(options.otlp_sample_ratio) {
  if (options.otlp_endpoint.empty()) return;
  SpanExporterOptions exporter;
  exporter.endpoint = *ParseHttpUrl(options.otlp_endpoint);
  if (exporter.endpoint.target == "/") exporter.endpoint.target = "/v1/traces";
  exporter.resource =
      DescribeProcess(options.service_name.empty() ? program : options.service_name);
  exporter_ = std::make_unique<SpanExporter>(std::move(exporter));
}

TraceContext Tracer::NewSpan(const TraceContext& parent) const {
  TraceContext span = parent;
  if (!parent.valid()) {
    const uint64_t low = RandomId();
    span.trace_id = absl::StrCat(Hex(RandomId()), Hex(low));
    // By the trace's id, so that every process that asks decides alike.
    span.sampled = exports() && static_cast<double>(low) < sample_ratio_ * 0x1p64;
  }
  span.span_id = Hex(RandomId());
  return span;
}

void Tracer::Export(std::vector<Span> spans) {
  if (!exports() || spans.empty() || !spans.front().context.sampled) return;
  exporter_->Add(std::move(spans));
}

std::string Tracer::RenderMetrics() const {
  const SpanExporter::Counts counts = exports() ? exporter_->counts() : SpanExporter::Counts();
  return absl::StrCat(
      "# HELP tidal:spans_exported_total Spans that the trace collector took.\n"
      "# TYPE tidal:spans_exported_total counter\n"
      "tidal:spans_exported_total ",
      counts.exported,
      "\n"
      "# HELP tidal:spans_dropped_total Spans that were lost, by reason.\n"
      "# TYPE tidal:spans_dropped_total counter\n"
      "tidal:spans_dropped_total{reason=\"queue_full\"} ",
      counts.dropped_full, "\ntidal:spans_dropped_total{reason=\"export_failed\"} ",
      counts.dropped_error, "\n");
}

}  // namespace tidal
