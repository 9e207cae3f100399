// How busy a server is, in a header of its replies (ORCA): what load balancers weigh servers by.
#ifndef TIDAL_SERVER_GATEWAY_LOAD_REPORT_H_
#define TIDAL_SERVER_GATEWAY_LOAD_REPORT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace tidal {

// The reply's header that has it.
inline constexpr const char* kLoadReportHeader = "endpoint-load-metrics";

// vLLM's report from `metrics`, Prometheus text: the share of the KV cache in use and the number of
// requests that wait. `format` is "TEXT" or "JSON", in any case. Empty for another format, and
// where the metrics have neither.
std::string LoadReport(absl::string_view format, absl::string_view metrics);

}  // namespace tidal

#endif  // TIDAL_SERVER_GATEWAY_LOAD_REPORT_H_
