#include "server/observe/http_url.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace tidal {
namespace {

// HOST[:PORT], [IPV6][:PORT]. False when it is neither.
bool SplitAuthority(absl::string_view authority, HttpUrl* url) {
  const bool is_ipv6 = absl::ConsumePrefix(&authority, "[");
  const size_t end = authority.find(is_ipv6 ? ']' : ':');
  url->host = std::string(authority.substr(0, end));
  if (is_ipv6 && end == authority.npos) return false;
  absl::string_view rest = end == authority.npos ? "" : authority.substr(end + (is_ipv6 ? 1 : 0));
  url->port = "80";
  if (absl::ConsumePrefix(&rest, ":")) {
    url->port = std::string(rest);
    rest = "";
  }
  int port = 0;
  return rest.empty() && !url->host.empty() && absl::SimpleAtoi(url->port, &port) && port >= 1 &&
         port <= 65535;
}

}  // namespace

absl::StatusOr<HttpUrl> ParseHttpUrl(absl::string_view text) {
  absl::string_view rest = text;
  HttpUrl url;
  const bool is_http = absl::ConsumePrefix(&rest, "http://");
  const size_t slash = std::min(rest.find('/'), rest.size());
  url.target = slash == rest.size() ? "/" : std::string(rest.substr(slash));
  const bool is_plain = text.find_first_of(" \t\r\n@#") == text.npos;
  if (!is_http || !is_plain || !SplitAuthority(rest.substr(0, slash), &url)) {
    return absl::InvalidArgumentError(
        absl::StrCat("must be http://HOST[:PORT][/PATH] (there is no TLS), got ", text));
  }
  return url;
}

}  // namespace tidal
