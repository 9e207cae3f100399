// What Prometheus expects to know of any process, under its usual names.
#ifndef TIDAL_SERVER_OBSERVE_PROCESS_METRICS_H_
#define TIDAL_SERVER_OBSERVE_PROCESS_METRICS_H_

#include <string>

namespace tidal {

// Prometheus text: process_start_time_seconds, process_cpu_seconds_total,
// process_resident_memory_bytes, process_open_fds, process_max_fds, tidal:log_lines_dropped_total,
// tidal:build_info{version}. What /proc does not tell is left out. Thread-safe.
std::string RenderProcessMetrics();

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_PROCESS_METRICS_H_
