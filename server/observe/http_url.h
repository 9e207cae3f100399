// The address of a plain HTTP server.
#ifndef TIDAL_SERVER_OBSERVE_HTTP_URL_H_
#define TIDAL_SERVER_OBSERVE_HTTP_URL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidal {

struct HttpUrl {
  std::string host;  // name or address; of IPv6 without brackets
  std::string port;
  std::string target;  // path and query; at least "/"
};

// INVALID_ARGUMENT "must be http://HOST[:PORT][/PATH], got ..."; also for https.
absl::StatusOr<HttpUrl> ParseHttpUrl(absl::string_view text);

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_HTTP_URL_H_
