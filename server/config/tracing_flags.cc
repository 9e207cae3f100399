#include "server/config/tracing_flags.h"

#include <cstdlib>
#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "engine/base/status_macros.h"

ABSL_FLAG(std::string, otlp_endpoint, "",
          "Where traces go: the URL of an OpenTelemetry collector that takes OTLP over HTTP, "
          "http://HOST:4318/v1/traces. No TLS. Empty: what OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or "
          "OTEL_EXPORTER_OTLP_ENDPOINT say, else no traces.");
ABSL_FLAG(double, otlp_sample_ratio, 1.0,
          "Share of the traces that begin here to record, 0 to 1. Where a caller sends a "
          "traceparent, its choice counts.");

namespace tidal {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string EndpointFromEnvironment() {
  std::string endpoint = Environment("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
  if (!endpoint.empty()) return endpoint;
  const std::string base = Environment("OTEL_EXPORTER_OTLP_ENDPOINT");
  if (base.empty()) return base;
  return absl::StrCat(absl::StripSuffix(base, "/"), "/v1/traces");
}

}  // namespace

absl::StatusOr<TracingOptions> TracingOptionsFromFlags() {
  TracingOptions options;
  options.otlp_endpoint = absl::GetFlag(FLAGS_otlp_endpoint);
  if (options.otlp_endpoint.empty()) options.otlp_endpoint = EndpointFromEnvironment();
  options.otlp_sample_ratio = absl::GetFlag(FLAGS_otlp_sample_ratio);
  options.service_name = Environment("OTEL_SERVICE_NAME");
  TIDAL_RETURN_IF_ERROR(options.Validate());
  return options;
}

}  // namespace tidal
