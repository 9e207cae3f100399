// The flags of every program that logs what it does.
#ifndef TIDAL_SERVER_CONFIG_LOGGING_FLAGS_H_
#define TIDAL_SERVER_CONFIG_LOGGING_FLAGS_H_

#include "absl/status/statusor.h"
#include "server/observe/logging.h"

namespace tidal {

// After the command line was parsed. INVALID_ARGUMENT names the flag.
absl::StatusOr<LogLevel> LogLevelFromFlags();
absl::StatusOr<LogFormat> LogFormatFromFlags();

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_LOGGING_FLAGS_H_
