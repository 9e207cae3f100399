// The flags of the ports, which tidal-server and tidal-gateway share.
#ifndef TIDAL_SERVER_CONFIG_DOOR_FLAGS_H_
#define TIDAL_SERVER_CONFIG_DOOR_FLAGS_H_

#include "server/config/door_config.h"

namespace tidal {

// After the command line was parsed. Not validated.
DoorConfig DoorConfigFromFlags();

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_DOOR_FLAGS_H_
