// One listening socket.
#ifndef TIDAL_SERVER_NET_LISTENER_H_
#define TIDAL_SERVER_NET_LISTENER_H_

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <string>

#include "absl/status/status.h"

namespace tidal {

class Listener {
 public:
  // Each connection comes on a strand of its own. Called on a thread that runs `io`, which no
  // longer runs when the listener goes.
  using OnAccept = std::function<void(boost::asio::ip::tcp::socket)>;

  Listener(boost::asio::io_context* io, OnAccept on_accept);

  // Listens when it returns. UNAVAILABLE naming `flag` when the address cannot be bound.
  absl::Status Listen(const std::string& flag, const std::string& host, int port);
  int port() const { return port_; }

  // From any thread; a second call does nothing.
  void Close();

 private:
  void Accept();

  boost::asio::io_context* const io_;
  const OnAccept on_accept_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer retry_;
  int port_ = 0;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_NET_LISTENER_H_
