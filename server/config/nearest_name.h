// Names for those who misspell one.
#ifndef TIDAL_SERVER_CONFIG_NEAREST_NAME_H_
#define TIDAL_SERVER_CONFIG_NEAREST_NAME_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tidal {

// "; did you mean X?", to end an error with: the one of `names` that takes the fewest changes of a
// letter to become `name`. "" where all are further away than a misspelling is, a third of its
// letters.
std::string DidYouMean(absl::string_view name, const std::vector<std::string>& names);

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_NEAREST_NAME_H_
