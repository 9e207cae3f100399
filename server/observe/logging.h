// Log lines with named fields, as text or JSON, to stderr.
#ifndef TIDAL_SERVER_OBSERVE_LOGGING_H_
#define TIDAL_SERVER_OBSERVE_LOGGING_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tidal {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

struct LogField {
  LogField(const char* key, absl::string_view value) : key(key), value(value), is_text(true) {}
  LogField(const char* key, const std::string& value) : key(key), value(value), is_text(true) {}
  LogField(const char* key, const char* value) : key(key), value(value), is_text(true) {}
  template <typename Number, typename = std::enable_if_t<std::is_arithmetic_v<Number>>>
  LogField(const char* key, Number value) : key(key), value(absl::StrCat(value)), is_text(false) {}

  const char* key;
  std::string value;
  bool is_text;
};

// Call once, before other threads log. Without it: text, from kInfo.
void InitLogging(LogLevel lowest, LogFormat format);

// Every line from now on says that it is this rank's. Call once, before other threads log.
void SetLogRank(int rank);

// Thread-safe. Never give it what a client said or was told. A line that cannot be written, as on a
// full disk, is dropped: the next one is tried again.
void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields = {});

// Logs an error and ends the process with the exit code 1, without taking memory or a lock. The
// message needs no quotes in JSON. Thread-safe.
[[noreturn]] void LogLastLine(const char* message);

// Lines dropped since the process started. Thread-safe.
uint64_t DroppedLogLines();

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_LOGGING_H_
