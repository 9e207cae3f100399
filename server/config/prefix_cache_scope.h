// Who may find whose prompts in the prefix cache. A hit answers sooner, so sharing would tell a
// tenant what others have asked.
#ifndef TIDAL_SERVER_CONFIG_PREFIX_CACHE_SCOPE_H_
#define TIDAL_SERVER_CONFIG_PREFIX_CACHE_SCOPE_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tidal {

enum class PrefixCacheScope {
  kTenant,  // requests of one tenant
  kServer,  // all requests
};

// The scheduler's salt of a request: equal only for requests that may share. The tenant's length
// comes first, so that no salt of a client makes it another tenant's.
inline std::string ScopedCacheSalt(PrefixCacheScope scope, absl::string_view tenant,
                                   absl::string_view client_salt) {
  if (scope == PrefixCacheScope::kServer) tenant = "";
  return absl::StrCat(tenant.size(), ":", tenant, client_salt);
}

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_PREFIX_CACHE_SCOPE_H_
