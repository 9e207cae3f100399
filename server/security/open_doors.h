// A warning for those who open the server to a network without asking for keys.
#ifndef TIDAL_SERVER_SECURITY_OPEN_DOORS_H_
#define TIDAL_SERVER_SECURITY_OPEN_DOORS_H_

#include <string>

#include "server/security/api_keys.h"

namespace tidal {

// Does `host` (a name, an address, "::") mean this machine alone? Not when it cannot be resolved.
bool IsLoopback(const std::string& host);

// Logs when others than this machine can reach `host` and no key is asked for.
void WarnOfOpenDoors(const std::string& host, const ApiKeys& keys);

}  // namespace tidal

#endif  // TIDAL_SERVER_SECURITY_OPEN_DOORS_H_
