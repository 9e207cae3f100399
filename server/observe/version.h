// Which build this is, as /version, --version, metrics and spans tell it.
#ifndef TIDAL_SERVER_OBSERVE_VERSION_H_
#define TIDAL_SERVER_OBSERVE_VERSION_H_

#include "absl/strings/string_view.h"

namespace tidal {

// "0.1.0"
absl::string_view Version();

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_VERSION_H_
