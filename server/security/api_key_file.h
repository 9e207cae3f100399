// The syntax of --api_key_file.
//
//   # comment
//   KEY
//   NAME: KEY        several keys may have one name: that is how a key is replaced without a gap
#ifndef TIDAL_SERVER_SECURITY_API_KEY_FILE_H_
#define TIDAL_SERVER_SECURITY_API_KEY_FILE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidal {

struct ApiKey {
  std::string name;  // whose key it is; empty: it has no name
  std::string key;
};

inline constexpr size_t kMaxApiKeyBytes = 512;
inline constexpr size_t kMaxApiKeyNameBytes = 64;
inline constexpr size_t kMaxApiKeys = 10'000;

// A key is 1 to kMaxApiKeyBytes visible ASCII characters. INVALID_ARGUMENT; quotes no key.
absl::Status CheckApiKey(absl::string_view key);

// At least one key. INVALID_ARGUMENT "line 3: must be ..."; quotes no key, as errors are logged.
absl::StatusOr<std::vector<ApiKey>> ParseApiKeyFile(absl::string_view text);

}  // namespace tidal

#endif  // TIDAL_SERVER_SECURITY_API_KEY_FILE_H_
