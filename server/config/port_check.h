// Is an address free to listen on? Asked before a model is loaded, so that a mistake shows at once.
#ifndef TIDAL_SERVER_CONFIG_PORT_CHECK_H_
#define TIDAL_SERVER_CONFIG_PORT_CHECK_H_

#include <string>

#include "absl/status/status.h"

namespace tidal {

// Binds and lets go. UNAVAILABLE "flag: must be ..., got host:port (reason)"; port 0 is always
// free.
absl::Status CheckPortIsFree(const std::string& flag, const std::string& host, int port);

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_PORT_CHECK_H_
