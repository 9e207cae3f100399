// What a run of the load generator found.
#ifndef TIDAL_TOOLS_BENCH_LOAD_REPORT_H_
#define TIDAL_TOOLS_BENCH_LOAD_REPORT_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tools/bench/load_client.h"
#include "tools/bench/load_options.h"

namespace tidal {

// Of a sample; all zero for an empty one.
struct Percentiles {
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
};

// By linear interpolation between the two nearest values.
Percentiles PercentilesOf(std::vector<double> values);

struct LoadReport {
  int completed = 0;
  int refused = 0;          // RESOURCE_EXHAUSTED
  int failed = 0;           // for other reasons
  std::string first_error;  // empty when none failed
  int64_t output_tokens = 0;
  double seconds = 0;
  Percentiles ttft_ms;     // from when the request was due to its first token
  Percentiles tpot_ms;     // time per output token after the first
  Percentiles latency_ms;  // from when the request was due to its last token
  Percentiles refused_ms;  // from when a refused request was sent to its answer
};

// Times are of completed requests; tokens count for all.
LoadReport MakeLoadReport(const std::vector<RequestTrace>& traces, absl::Duration wall);

std::string RenderTable(const LoadOptions& options, const LoadReport& report);
std::string RenderJson(const LoadOptions& options, const LoadReport& report);

}  // namespace tidal

#endif  // TIDAL_TOOLS_BENCH_LOAD_REPORT_H_
