#include "server/config/door_config.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/status_macros.h"

namespace tidal {
namespace {

absl::Status RequireRange(const char* flag, int64_t value, int64_t lowest, int64_t highest) {
  if (value >= lowest && value <= highest) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": must be in [", lowest, ", ", highest, "], got ", value));
}

absl::Status RequirePositive(const char* flag, absl::Duration value) {
  if (value > absl::ZeroDuration()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, ": must be more than 0, got ", absl::FormatDuration(value)));
}

// As a browser names it: scheme and host, no path; or "*".
bool IsOrigin(const std::string& text) {
  if (text == "*") return true;
  const size_t scheme = text.find("://");
  if (scheme == std::string::npos || scheme == 0) return false;
  const absl::string_view host = absl::string_view(text).substr(scheme + 3);
  return !host.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isgraph(c) && !absl::ascii_isupper(c);
  }) && host.find_first_of("/?#*@") == absl::string_view::npos;
}

absl::Status CheckAllowedOrigins(const std::vector<std::string>& origins) {
  for (const std::string& origin : origins) {
    if (IsOrigin(origin)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("allowed_origins: must be * or origins as browsers send them, as in "
                     "https://app.example.com,http://localhost:3000, got ",
                     origin));
  }
  return absl::OkStatus();
}

absl::Status CheckRootPath(const std::string& path) {
  if (path.empty() || (path.size() > 1 && path.front() == '/' && path.back() != '/')) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("root_path: must begin with / and not end with one, got ", path));
}

}  // namespace

absl::Status DoorConfig::Validate() const {
  TIDAL_RETURN_IF_ERROR(tls.Validate());
  for (const std::string& key : api_keys) {
    if (key.empty()) {
      return absl::InvalidArgumentError(
          "api_key: must be keys with commas between, got an empty one");
    }
  }
  TIDAL_RETURN_IF_ERROR(CheckAllowedOrigins(allowed_origins));
  TIDAL_RETURN_IF_ERROR(CheckRootPath(root_path));
  TIDAL_RETURN_IF_ERROR(RequireRange("health_port", health_port, 0, 65535));
  TIDAL_RETURN_IF_ERROR(RequireRange("max_connections", http.max_connections, 1, 1'000'000));
  TIDAL_RETURN_IF_ERROR(RequireRange("max_header_bytes", http.max_header_bytes, 1 << 10, 1 << 20));
  TIDAL_RETURN_IF_ERROR(RequireRange("max_held_request_bytes", http.max_held_request_bytes, 1 << 20,
                                     int64_t{1} << 40));
  TIDAL_RETURN_IF_ERROR(RequirePositive("http_idle_timeout", http.http_idle_timeout));
  TIDAL_RETURN_IF_ERROR(RequirePositive("http_header_timeout", http.http_header_timeout));
  TIDAL_RETURN_IF_ERROR(RequirePositive("http_body_timeout", http.http_body_timeout));
  return RequirePositive("http_write_timeout", http.http_write_timeout);
}

}  // namespace tidal
