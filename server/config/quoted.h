// What somebody wrote, as an error repeats it: printable, and cut to a length that a line bears.
#ifndef TIDAL_SERVER_CONFIG_QUOTED_H_
#define TIDAL_SERVER_CONFIG_QUOTED_H_

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"

namespace tidal {

inline std::string Quoted(absl::string_view written) {
  constexpr size_t kMaxBytes = 100;
  return absl::CHexEscape(written.substr(0, kMaxBytes));
}

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_QUOTED_H_
