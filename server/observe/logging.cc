#include "server/observe/logging.h"

#include <fcntl.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <memory>
#include <mutex>

namespace tidal {
namespace {

// The logger's pattern is the rest of the line: time and level.
constexpr char kTextPattern[] = "%Y-%m-%dT%H:%M:%S.%e%z %l %v";
constexpr char kJsonPattern[] = R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})";
constexpr char kTextRank[] = " rank=", kJsonRank[] = R"(,"rank":)";  // and its number

// spdlog's own sink for stderr does not look at whether a line was written.
class StderrSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  uint64_t dropped_lines() const { return dropped_lines_.load(std::memory_order_relaxed); }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    if (inside_line_) line.push_back('\n');  // what follows half a line begins a line all the same
    formatter_->format(message, line);
    if (!Write(line.data(), line.size())) dropped_lines_.fetch_add(1, std::memory_order_relaxed);
  }
  void flush_() override {}

  // One call for a whole line as a rule, so that lines of processes that share a file stay whole.
  bool Write(const char* data, size_t size) {
    for (size_t written = 0; written < size;) {
      const ssize_t count = ::write(STDERR_FILENO, data + written, size - written);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return false;
      written += static_cast<size_t>(count);
      inside_line_ = written < size;
    }
    return true;
  }

  bool inside_line_ = false;  // the last byte written was not a line's last
  std::atomic<uint64_t> dropped_lines_{0};
};

struct Logger {
  Logger() { out->set_pattern(kTextPattern); }

  const std::shared_ptr<StderrSink> sink = std::make_shared<StderrSink>();
  const std::shared_ptr<spdlog::logger> out = std::make_shared<spdlog::logger>("tidal", sink);
  LogFormat format = LogFormat::kText;
  char rank[16] = "";  // what LogLastLine() says of it
};

Logger& GetLogger() {
  static Logger* const logger = new Logger;  // never destroyed: threads may log while we exit
  return *logger;
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

// In quotes, as JSON escapes. Bytes from 0x80 on pass: what we log is UTF-8.
void AppendQuoted(absl::string_view text, std::string* out) {
  out->push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppend(out, "\\u", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad4));
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

bool NeedsQuotes(absl::string_view text) {
  if (text.empty()) return true;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= 0x20 || c == '"' || c == '=' || c == '\\') return true;
  }
  return false;
}

// Where one of 0, 1 and 2 is closed, the next file or socket would have that number, and a client
// might read the log. open() takes the lowest number that is free.
void OpenStandardStreams() {
  for (int file = STDIN_FILENO; file <= STDERR_FILENO; ++file) {
    if (fcntl(file, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) return;
  }
}

std::string FormatText(absl::string_view message, std::initializer_list<LogField> fields) {
  std::string line(message);
  for (const LogField& field : fields) {
    absl::StrAppend(&line, " ", field.key, "=");
    if (field.is_text && NeedsQuotes(field.value)) {
      AppendQuoted(field.value, &line);
    } else {
      line.append(field.value);
    }
  }
  return line;
}

std::string FormatJson(absl::string_view message, std::initializer_list<LogField> fields) {
  std::string line = "\"message\":";
  AppendQuoted(message, &line);
  for (const LogField& field : fields) {
    line.push_back(',');
    AppendQuoted(field.key, &line);
    line.push_back(':');
    if (field.is_text) {
      AppendQuoted(field.value, &line);
    } else {
      line.append(field.value);
    }
  }
  return line;
}

}  // namespace

void InitLogging(LogLevel lowest, LogFormat format) {
  OpenStandardStreams();
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is a full disk, no reason to end
  Logger& logger = GetLogger();
  logger.format = format;
  logger.out->set_level(ToSpdlog(lowest));
  logger.out->set_pattern(format == LogFormat::kJson ? kJsonPattern : kTextPattern);
}

void SetLogRank(int rank) {
  Logger& logger = GetLogger();
  const bool json = logger.format == LogFormat::kJson;
  const std::string field = absl::StrCat(json ? kJsonRank : kTextRank, rank);
  std::snprintf(logger.rank, sizeof(logger.rank), "%s", field.c_str());
  std::string pattern = json ? kJsonPattern : kTextPattern;
  pattern.insert(json ? pattern.size() - 1 : pattern.size(), field);
  logger.out->set_pattern(pattern);
}

void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields) {
  Logger& logger = GetLogger();
  const spdlog::level::level_enum spd_level = ToSpdlog(level);
  if (!logger.out->should_log(spd_level)) return;
  const std::string line =
      logger.format == LogFormat::kJson ? FormatJson(message, fields) : FormatText(message, fields);
  logger.out->log(spd_level, spdlog::string_view_t(line.data(), line.size()));
}

void LogLastLine(const char* message) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char time[32], line[512];
  std::strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%S", &parts);
  const char* const form = GetLogger().format == LogFormat::kJson
                               ? R"({"time":"%s.%03d+0000","level":"error","message":"%s"%s})"
                                 "\n"
                               : "%s.%03d+0000 error %s%s\n";
  const int millis = static_cast<int>(now.tv_nsec / 1'000'000);
  const int size = std::snprintf(line, sizeof(line), form, time, millis, message, GetLogger().rank);
  if (::write(STDERR_FILENO, line, static_cast<size_t>(size)) < 0) _exit(1);
  _exit(1);
}

uint64_t DroppedLogLines() { return GetLogger().sink->dropped_lines(); }

}  // namespace tidal
