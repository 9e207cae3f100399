// Reads the small text files of a model folder.
#ifndef TIDAL_SERVER_TEXT_FILE_H_
#define TIDAL_SERVER_TEXT_FILE_H_

#include <string>

#include "absl/status/statusor.h"

namespace tidal {

// NOT_FOUND when there is no such file; INVALID_ARGUMENT above 256 MiB or when it cannot be read.
absl::StatusOr<std::string> ReadTextFile(const std::string& path);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_FILE_H_
