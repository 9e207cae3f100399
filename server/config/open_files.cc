#include "server/config/open_files.h"

#include <sys/resource.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

// The model's files, event queues, the log.
constexpr rlim_t kFilesBesideConnections = 512;
constexpr size_t kFilesToStart = 256;

}  // namespace

absl::Status RaiseOpenFileLimit(int max_connections, int files_each) {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return absl::OkStatus();
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t wanted = static_cast<rlim_t>(max_connections) * files_each + kFilesBesideConnections;
  if (limit.rlim_max >= wanted) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("max_connections: ", max_connections, " may need ", wanted,
                   " open files, but ulimit -n is ", limit.rlim_max));
}

absl::Status CheckOpenFiles() {
  // By trying, as files that are open already count.
  int ends[2];
  std::vector<int> files;
  if (pipe(ends) == 0) {
    files = {ends[0], ends[1]};
    while (files.size() < kFilesToStart) {
      const int file = dup(ends[0]);
      if (file < 0) break;
      files.push_back(file);
    }
  }
  for (const int file : files) close(file);
  if (files.size() == kFilesToStart) return absl::OkStatus();
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  return absl::FailedPreconditionError(
      absl::StrCat("open files: must be at least ", kFilesToStart, " beside those that are open, ",
                   "got ", files.size(), " with ulimit -n ", limit.rlim_cur));
}

}  // namespace tidal
