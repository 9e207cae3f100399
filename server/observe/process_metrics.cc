#include "server/observe/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/observe/logging.h"
#include "server/observe/version.h"

namespace tidal {
namespace {

// Fields of /proc/self/stat behind the program's name, which may hold anything; proc(5) numbers
// them from 3 on.
struct ProcessStat {
  uint64_t user_ticks = 0, system_ticks = 0;  // of all threads
  uint64_t start_ticks = 0;                   // after the machine's start
  uint64_t resident_pages = 0;
};

std::optional<ProcessStat> ReadProcessStat() {
  std::ifstream file("/proc/self/stat");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  const size_t name_end = text.rfind(')');
  if (name_end == text.npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  ProcessStat stat;
  std::string field;
  for (int number = 3; number <= 24 && fields >> field; ++number) {
    const uint64_t value = std::strtoull(field.c_str(), nullptr, 10);
    if (number == 14) stat.user_ticks = value;
    if (number == 15) stat.system_ticks = value;
    if (number == 22) stat.start_ticks = value;
    if (number == 24) stat.resident_pages = value;
  }
  return fields ? std::optional(stat) : std::nullopt;
}

// When the machine started, in seconds since 1970. It moves when the clock is set.
std::optional<uint64_t> ReadBootTime() {
  std::ifstream file("/proc/stat");
  std::string key;
  uint64_t value = 0;
  for (std::string line; std::getline(file, line);) {
    if (std::istringstream(line) >> key >> value && key == "btime") return value;
  }
  return std::nullopt;
}

std::optional<int64_t> CountOpenFiles() {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  if (error) return std::nullopt;
  return std::distance(begin(files), end(files));
}

void AppendHead(const char* type, const char* name, const char* help, std::string* text) {
  absl::StrAppend(text, "# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
}

}  // namespace

std::string RenderProcessMetrics() {
  std::string text;
  const auto add = [&text](const char* type, const char* name, const char* help, double value) {
    AppendHead(type, name, help, &text);
    absl::StrAppendFormat(&text, "%s %.17g\n", name, value);
  };
  const double tick = 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK));  // seconds
  const double page = static_cast<double>(sysconf(_SC_PAGESIZE));       // bytes
  if (const std::optional<ProcessStat> stat = ReadProcessStat()) {
    // Read once: a start that seems to move looks like a restart.
    static const std::optional<uint64_t> boot = ReadBootTime();
    if (boot.has_value()) {
      add("gauge", "process_start_time_seconds", "When the process started, since 1970.",
          static_cast<double>(*boot) + static_cast<double>(stat->start_ticks) * tick);
    }
    add("counter", "process_cpu_seconds_total", "Processor time used, of all threads.",
        static_cast<double>(stat->user_ticks + stat->system_ticks) * tick);
    add("gauge", "process_resident_memory_bytes", "Memory in use.",
        static_cast<double>(stat->resident_pages) * page);
  }
  if (const std::optional<int64_t> files = CountOpenFiles()) {
    add("gauge", "process_open_fds", "Open files and sockets.", static_cast<double>(*files));
  }
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    add("gauge", "process_max_fds", "Files and sockets that may be open.",
        static_cast<double>(limit.rlim_cur));
  }
  add("counter", "tidal:log_lines_dropped_total",
      "Log lines that could not be written, as on a full disk.",
      static_cast<double>(DroppedLogLines()));
  AppendHead("gauge", "tidal:build_info", "The version that runs, in the label.", &text);
  absl::StrAppend(&text, "tidal:build_info{version=\"", Version(), "\"} 1\n");
  return text;
}

}  // namespace tidal
