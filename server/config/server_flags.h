// The flags of tidal-server, beside those of the model.
#ifndef TIDAL_SERVER_CONFIG_SERVER_FLAGS_H_
#define TIDAL_SERVER_CONFIG_SERVER_FLAGS_H_

#include "absl/status/statusor.h"
#include "server/config/server_config.h"

namespace tidal {

// After the command line was parsed. A valid configuration, or INVALID_ARGUMENT or NOT_FOUND naming
// the flag.
absl::StatusOr<ServerConfig> ServerConfigFromFlags();

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_SERVER_FLAGS_H_
