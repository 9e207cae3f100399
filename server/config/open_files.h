// How many files and sockets the process may have open.
#ifndef TIDAL_SERVER_CONFIG_OPEN_FILES_H_
#define TIDAL_SERVER_CONFIG_OPEN_FILES_H_

#include "absl/status/status.h"

namespace tidal {

// Of a connection to each port: a gRPC client's socket, and the pair by which gRPC has it.
inline constexpr int kFilesOfHttp = 1, kFilesOfGrpc = 3;

// Raises the limit as far as the system lets us: the usual 1024 is less than our connections. Then
// FAILED_PRECONDITION, for a warning, where it is still too low for `max_connections` of
// `files_each`.
absl::Status RaiseOpenFileLimit(int max_connections, int files_each);

// FAILED_PRECONDITION where the process cannot open as many files as it needs to start: libraries
// end it without a word then. After RaiseOpenFileLimit(), before other threads start.
absl::Status CheckOpenFiles();

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_OPEN_FILES_H_
