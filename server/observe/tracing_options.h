// Whether and where spans go.
#ifndef TIDAL_SERVER_OBSERVE_TRACING_OPTIONS_H_
#define TIDAL_SERVER_OBSERVE_TRACING_OPTIONS_H_

#include <string>

#include "absl/status/status.h"

namespace tidal {

struct TracingOptions {
  // URL where a collector takes OTLP over HTTP; empty: no tracing. Without a path: /v1/traces.
  std::string otlp_endpoint;
  double otlp_sample_ratio = 1.0;  // of traces that begin here; others follow their caller
  std::string service_name;        // what the spans say they come from; empty: the program's name

  // INVALID_ARGUMENT "flag: must be ..., got ...".
  absl::Status Validate() const;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_TRACING_OPTIONS_H_
