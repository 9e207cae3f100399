#include "server/config/logging_flags.h"

#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"

ABSL_FLAG(std::string, log_level, "info", "Lowest level to log: debug, info, warning or error.");
ABSL_FLAG(std::string, log_format, "text", "Form of a log line: text or json.");

namespace tidal {

absl::StatusOr<LogLevel> LogLevelFromFlags() {
  const std::string name = absl::GetFlag(FLAGS_log_level);
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warning") return LogLevel::kWarning;
  if (name == "error") return LogLevel::kError;
  return absl::InvalidArgumentError(
      absl::StrCat("log_level: must be debug, info, warning or error, got ", name));
}

absl::StatusOr<LogFormat> LogFormatFromFlags() {
  const std::string name = absl::GetFlag(FLAGS_log_format);
  if (name == "text") return LogFormat::kText;
  if (name == "json") return LogFormat::kJson;
  return absl::InvalidArgumentError(absl::StrCat("log_format: must be text or json, got ", name));
}

}  // namespace tidal
