#include "server/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace tidal {
namespace {

// The logger's pattern is the rest of the line: time and level.
constexpr char kTextPattern[] = "%Y-%m-%dT%H:%M:%S.%e%z %l %v";
constexpr char kJsonPattern[] = R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})";

struct Logger {
  std::shared_ptr<spdlog::logger> out = [] {
    auto logger = std::make_shared<spdlog::logger>(
        "tidal", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger->set_pattern(kTextPattern);
    return logger;
  }();
  LogFormat format = LogFormat::kText;
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
  Logger& logger = GetLogger();
  logger.format = format;
  logger.out->set_level(ToSpdlog(lowest));
  logger.out->set_pattern(format == LogFormat::kJson ? kJsonPattern : kTextPattern);
}

void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields) {
  Logger& logger = GetLogger();
  const spdlog::level::level_enum spd_level = ToSpdlog(level);
  if (!logger.out->should_log(spd_level)) return;
  const std::string line =
      logger.format == LogFormat::kJson ? FormatJson(message, fields) : FormatText(message, fields);
  logger.out->log(spd_level, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace tidal
