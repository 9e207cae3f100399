// The flags of tracing, which tidal-server and tidal-gateway share.
#ifndef TIDAL_SERVER_CONFIG_TRACING_FLAGS_H_
#define TIDAL_SERVER_CONFIG_TRACING_FLAGS_H_

#include "absl/status/statusor.h"
#include "server/observe/tracing_options.h"

namespace tidal {

// After the command line was parsed. Where the flag is empty, OpenTelemetry's variables
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_SERVICE_NAME. Valid
// options, or INVALID_ARGUMENT naming the flag.
absl::StatusOr<TracingOptions> TracingOptionsFromFlags();

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_TRACING_FLAGS_H_
