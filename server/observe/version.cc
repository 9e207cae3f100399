#include "server/observe/version.h"

namespace tidal {

absl::string_view Version() { return TIDAL_VERSION; }

}  // namespace tidal
