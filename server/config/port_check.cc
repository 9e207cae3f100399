#include "server/config/port_check.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

absl::Status TryToBind(const addrinfo& address) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::UnavailableError(std::strerror(errno));
  const int on = 1;  // a connection of an ended server in TIME_WAIT does not count
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const bool ok = bind(fd, address.ai_addr, address.ai_addrlen) == 0 && listen(fd, 1) == 0;
  const int reason = errno;
  close(fd);
  return ok ? absl::OkStatus() : absl::UnavailableError(std::strerror(reason));
}

}  // namespace

absl::Status CheckPortIsFree(const std::string& flag, const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(absl::StrCat("host: must be an address of this machine, got ",
                                                   host, " (", gai_strerror(error), ")"));
  }
  const absl::Status status = TryToBind(*found);
  freeaddrinfo(found);
  if (status.ok()) return status;
  return absl::UnavailableError(absl::StrCat(flag, ": must be a free port, got ", host, ":", port,
                                             " (", status.message(), ")"));
}

}  // namespace tidal
