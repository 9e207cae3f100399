#include "server/security/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace tidal {

absl::StatusOr<std::string> ReadRegularFile(const std::string& path, size_t max_bytes) {
  const int file = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) {
    return absl::InvalidArgumentError(absl::StrCat("must be a readable file: ", strerror(errno)));
  }
  const absl::Cleanup close_file = [file] { close(file); };
  struct stat status = {};
  if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    return absl::InvalidArgumentError("must be a regular file, as it is read again and again");
  }
  std::string content(max_bytes + 1, '\0');
  size_t size = 0;
  while (size < content.size()) {
    const ssize_t got = read(file, content.data() + size, content.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return absl::InvalidArgumentError(absl::StrCat("must be a readable file: ", strerror(errno)));
    }
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  if (size > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("must have at most ", max_bytes, " bytes"));
  }
  content.resize(size);
  return content;
}

}  // namespace tidal
