#include "server/security/open_doors.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "server/observe/logging.h"

namespace tidal {

bool IsLoopback(const std::string& host) {
  boost::asio::io_context io;
  boost::asio::ip::tcp::resolver resolver(io);
  boost::system::error_code error;
  const auto found = resolver.resolve(host, "", error);
  if (error || found.empty()) return false;
  for (const auto& entry : found) {
    if (!entry.endpoint().address().is_loopback()) return false;
  }
  return true;
}

void WarnOfOpenDoors(const std::string& host, const ApiKeys& keys) {
  if (keys.required() || IsLoopback(host)) return;
  Log(LogLevel::kWarning,
      "everyone who reaches this address may use the server: no API key is asked for (api_key, "
      "api_key_file)",
      {{"host", host}});
}

}  // namespace tidal
