#include "server/open_files.h"

#include <sys/resource.h>

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

// The model's files, gRPC's connections, event queues, the log.
constexpr rlim_t kFilesBesideConnections = 512;

}  // namespace

absl::Status RaiseOpenFileLimit(int max_connections) {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::OkStatus();
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t wanted = static_cast<rlim_t>(max_connections) + kFilesBesideConnections;
  if (limit.rlim_max >= wanted) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "max_connections: must be below the process's open files less ", kFilesBesideConnections,
      ", got ", max_connections, " with ulimit -n ", limit.rlim_max));
}

}  // namespace tidal
