// Joins strings and integers. (Debian 12's abseil has a string_view of its own, which absl::StrCat
// takes instead of std::string_view.)
#ifndef TIDAL_SERVER_TEXT_CONCAT_H_
#define TIDAL_SERVER_TEXT_CONCAT_H_

#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/strings/string_view.h"

namespace tidal {

inline std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

template <typename... Parts>
std::string Concat(const Parts&... parts) {
  std::string out;
  const auto append = [&out](const auto& part) {
    using Part = std::decay_t<decltype(part)>;
    if constexpr (std::convertible_to<Part, std::string_view>) {
      out.append(std::string_view(part));
    } else if constexpr (std::convertible_to<Part, absl::string_view>) {
      out.append(ToStd(part));
    } else {
      static_assert(std::integral<Part>);
      out.append(std::to_string(part));
    }
  };
  (append(parts), ...);
  return out;
}

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_CONCAT_H_
