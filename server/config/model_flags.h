// The flags of every program that runs a model.
#ifndef TIDAL_SERVER_CONFIG_MODEL_FLAGS_H_
#define TIDAL_SERVER_CONFIG_MODEL_FLAGS_H_

#include "absl/status/statusor.h"
#include "server/config/server_config.h"

namespace tidal {

// After the command line was parsed. Valid options, or INVALID_ARGUMENT or NOT_FOUND naming the
// flag.
absl::StatusOr<ModelOptions> ModelOptionsFromFlags();

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_MODEL_FLAGS_H_
