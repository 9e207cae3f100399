#include "server/http/gateway.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/status_macros.h"
#include "server/http/api_handler.h"
#include "server/http/connection.h"
#include "server/http/http_stats.h"

namespace tidal {

namespace net = boost::asio;
using boost::system::error_code;
using tcp = net::ip::tcp;

absl::Status GatewayOptions::Validate() const {
  if (port < 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("http_port: must be in [0, 65535], got ", port));
  }
  if (io_threads < 1 || io_threads > 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat("io_threads: must be in [1, 1024], got ", io_threads));
  }
  if (max_connections < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_connections: must be at least 1, got ", max_connections));
  }
  for (const std::string& key : api_keys) {
    if (key.empty()) {
      return absl::InvalidArgumentError(
          "api_key: must be keys with commas between, got an empty one");
    }
  }
  return absl::OkStatus();
}

class Gateway::Impl {
 public:
  Impl(GatewayOptions options, std::shared_ptr<grpc::Channel> channel)
      : options_(std::move(options)),
        api_(options_, stats_, std::move(channel)),
        handler_([this](std::shared_ptr<Connection> connection, HttpRequest request) {
          api_.Handle(std::move(connection), std::move(request));
        }) {}

  absl::Status Listen();
  void Stop(absl::Duration grace);
  int port() const { return port_; }

 private:
  void Accept();
  void OnAccept(tcp::socket socket);
  void CloseAll();

  const GatewayOptions options_;
  HttpStats stats_;
  ApiHandler api_;
  const Connection::Handler handler_;
  const std::shared_ptr<net::io_context> io_ = std::make_shared<net::io_context>();
  tcp::acceptor acceptor_{net::make_strand(*io_)};
  net::steady_timer accept_retry_{acceptor_.get_executor()};
  int port_ = 0;
  std::vector<std::thread> threads_;

  absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::weak_ptr<Connection>> connections_ ABSL_GUARDED_BY(mutex_);
  size_t prune_at_ ABSL_GUARDED_BY(mutex_) = 64;  // entries at which the expired ones are dropped
};

absl::Status Gateway::Impl::Listen() {
  TIDAL_RETURN_IF_ERROR(options_.Validate());
  const auto failed = [this](const char* what, const error_code& error) {
    return absl::UnavailableError(absl::StrCat("http_port: cannot ", what, " ", options_.host, ":",
                                               options_.port, ": ", error.message()));
  };
  error_code error;
  tcp::resolver resolver(*io_);
  const auto found =
      resolver.resolve(options_.host, std::to_string(options_.port), tcp::resolver::passive, error);
  if (error || found.empty()) return failed("resolve", error);
  const tcp::endpoint endpoint = *found.begin();
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(net::socket_base::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(net::socket_base::max_listen_connections, error);
  if (error) return failed("listen on", error);
  port_ = acceptor_.local_endpoint(error).port();
  Accept();
  for (int i = 0; i < options_.io_threads; ++i) threads_.emplace_back([this] { io_->run(); });
  return absl::OkStatus();
}

void Gateway::Impl::Accept() {
  acceptor_.async_accept(net::make_strand(*io_),
                         [this](const error_code& error, tcp::socket socket) {
                           if (error == net::error::operation_aborted || !acceptor_.is_open())
                             return;
                           if (!error) {
                             OnAccept(std::move(socket));
                             return Accept();
                           }
                           // Out of file descriptors, or the client left already: others may fare
                           // better a little later.
                           accept_retry_.expires_after(std::chrono::milliseconds(50));
                           accept_retry_.async_wait([this](const error_code& stopped) {
                             if (!stopped) Accept();
                           });
                         });
}

void Gateway::Impl::OnAccept(tcp::socket socket) {
  const bool full = stats_.connections() >= options_.max_connections;
  auto connection =
      std::make_shared<Connection>(io_, std::move(socket), options_, handler_, stats_);
  {
    absl::MutexLock lock(&mutex_);
    if (closing_) return;
    connections_.push_back(connection);
    if (connections_.size() >= prune_at_) {
      std::erase_if(connections_, [](const auto& weak) { return weak.expired(); });
      prune_at_ = 2 * connections_.size() + 64;
    }
  }
  full ? connection->Reject() : connection->Start();
}

void Gateway::Impl::CloseAll() {
  absl::MutexLock lock(&mutex_);
  closing_ = true;
  for (const auto& weak : connections_) {
    if (const std::shared_ptr<Connection> connection = weak.lock()) connection->Close();
  }
}

void Gateway::Impl::Stop(absl::Duration grace) {
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_) return;
    stopped_ = true;
  }
  api_.Drain();
  stats_.WaitForNoRequests(grace);
  net::post(acceptor_.get_executor(), [this] {
    error_code ignored;
    acceptor_.close(ignored);
    accept_retry_.cancel();
  });
  CloseAll();
  for (std::thread& thread : threads_) thread.join();
}

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Start(GatewayOptions options,
                                                        std::shared_ptr<grpc::Channel> channel) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(channel));
  TIDAL_RETURN_IF_ERROR(impl->Listen());
  return std::unique_ptr<Gateway>(new Gateway(std::move(impl)));
}

Gateway::Gateway(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Gateway::~Gateway() { Stop(absl::ZeroDuration()); }

int Gateway::port() const { return impl_->port(); }

void Gateway::Stop(absl::Duration grace) { impl_->Stop(grace); }

}  // namespace tidal
