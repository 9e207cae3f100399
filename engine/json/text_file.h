// The small text files of a model's folder.
#ifndef TIDAL_ENGINE_JSON_TEXT_FILE_H_
#define TIDAL_ENGINE_JSON_TEXT_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace tidal {

// A whole file. NOT_FOUND when there is none, INVALID_ARGUMENT when it is larger or cannot be read.
absl::StatusOr<std::string> ReadTextFile(const std::string& path,
                                         int64_t max_bytes = int64_t{256} << 20);

}  // namespace tidal

#endif  // TIDAL_ENGINE_JSON_TEXT_FILE_H_
