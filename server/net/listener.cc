#include "server/net/listener.h"

#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tidal {

namespace net = boost::asio;
using boost::system::error_code;
using tcp = net::ip::tcp;

Listener::Listener(net::io_context* io, OnAccept on_accept)
    : io_(io),
      on_accept_(std::move(on_accept)),
      acceptor_(net::make_strand(*io)),
      retry_(acceptor_.get_executor()) {}

absl::Status Listener::Listen(const std::string& flag, const std::string& host, int port) {
  const auto failed = [&](const char* what, const error_code& error) {
    return absl::UnavailableError(
        absl::StrCat(flag, ": cannot ", what, " ", host, ":", port, ": ", error.message()));
  };
  error_code error;
  tcp::resolver resolver(*io_);
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) return failed("resolve", error);
  const tcp::endpoint endpoint = *found.begin();
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(net::socket_base::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(net::socket_base::max_listen_connections, error);
  if (error) return failed("listen on", error);
  port_ = acceptor_.local_endpoint(error).port();
  Accept();
  return absl::OkStatus();
}

void Listener::Accept() {
  acceptor_.async_accept(net::make_strand(*io_),
                         [this](const error_code& error, tcp::socket socket) {
                           if (error == net::error::operation_aborted || !acceptor_.is_open())
                             return;
                           if (!error) {
                             on_accept_(std::move(socket));
                             return Accept();
                           }
                           // Out of file descriptors, or the client left already: others may fare
                           // better a little later.
                           retry_.expires_after(std::chrono::milliseconds(50));
                           retry_.async_wait([this](const error_code& stopped) {
                             if (!stopped) Accept();
                           });
                         });
}

void Listener::Close() {
  net::post(acceptor_.get_executor(), [this] {
    error_code ignored;
    acceptor_.close(ignored);
    retry_.cancel();
  });
}

}  // namespace tidal
