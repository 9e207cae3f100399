// The form of a configuration file: one YAML mapping of flags to values.
//
//   # tidal-server --config=server.yaml
//   model: models/tidal-nano
//   served_model_name: [tidal-nano, nano]
//   kv_cache_bytes: 4GiB
//
// A value is what the flag's own text would be, or a list of such. Which flags there are, and what
// they take, is not known here.
#ifndef TIDAL_SERVER_CONFIG_CONFIG_FILE_H_
#define TIDAL_SERVER_CONFIG_CONFIG_FILE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidal {

inline constexpr size_t kMaxConfigBytes = 1 << 20;

struct ConfigEntry {
  std::string key;
  std::vector<std::string> values;  // of a list: any number; else one
  bool is_list = false;
  int line = 0;  // of the key, from 1
};

// The entries in the order of the text; each key is there once. INVALID_ARGUMENT "NAME:LINE: what",
// in one line, for text that is not YAML or not of this form: nested values, anchors, aliases,
// tags, values that are missing.
absl::StatusOr<std::vector<ConfigEntry>> ParseConfig(absl::string_view text,
                                                     absl::string_view name);

// A file of flags, which may be a pipe. INVALID_ARGUMENT when it cannot be read or is larger than
// kMaxConfigBytes.
absl::StatusOr<std::string> ReadConfigText(const std::string& path);

// ParseConfig() of a file; errors of both.
absl::StatusOr<std::vector<ConfigEntry>> ReadConfigFile(const std::string& path);

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_CONFIG_FILE_H_
