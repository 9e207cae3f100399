// Files that are read again and again while the program runs: keys, certificates.
#ifndef TIDAL_SERVER_SECURITY_REGULAR_FILE_H_
#define TIDAL_SERVER_SECURITY_REGULAR_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace tidal {

// All of it. Never waits: the open or read of a FIFO would hold up the watcher's thread for ever.
// INVALID_ARGUMENT "must be ..." for what is no readable regular file of at most `max_bytes`.
absl::StatusOr<std::string> ReadRegularFile(const std::string& path, size_t max_bytes);

}  // namespace tidal

#endif  // TIDAL_SERVER_SECURITY_REGULAR_FILE_H_
