#include "server/gateway/gateway.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/status_macros.h"
#include "server/gateway/api_handler.h"
#include "server/gateway/api_response.h"
#include "server/gateway/router.h"
#include "server/http/connection.h"
#include "server/http/http_stats.h"
#include "server/net/listener.h"
#include "server/net/open_connections.h"
#include "server/security/tls_context.h"

namespace tidal {

namespace net = boost::asio;
using tcp = net::ip::tcp;

namespace {

// Kept for the health port, however many hold the other.
constexpr int kHealthConnections = 64;

ConnectionOptions ConnectionOptionsOf(const GatewayOptions& options) {
  ConnectionOptions connection;
  connection.limits = options.limits;
  connection.max_body_bytes = options.max_body_bytes;
  connection.allowed_origins = options.allowed_origins;
  connection.render_refusal = [root_path = options.root_path](const Refusal& refusal) {
    const absl::StatusOr<std::string> path = DecodePath(refusal.path);
    const Route route = FindRoute("", path.ok() ? StripRootPath(root_path, *path) : "");
    return ErrorResponse(HttpError(refusal.status, refusal.message),
                         {refusal.request_id, route.format});
  };
  return connection;
}

}  // namespace

absl::Status GatewayOptions::Validate() const {
  if (port < 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("http_port: must be in [0, 65535], got ", port));
  }
  if (io_threads < 1 || io_threads > 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat("io_threads: must be in [1, 1024], got ", io_threads));
  }
  return absl::OkStatus();
}

class Gateway::Impl {
 public:
  Impl(GatewayOptions options, std::unique_ptr<ServerChannel> channel)
      : options_(std::move(options)),
        connection_options_(ConnectionOptionsOf(options_)),
        api_(options_, stats_, std::move(channel)),
        handler_([this](std::shared_ptr<Connection> connection, HttpRequest request) {
          api_.Handle(std::move(connection), std::move(request));
        }),
        health_handler_([this](std::shared_ptr<Connection> connection, HttpRequest request) {
          api_.HandlePublic(std::move(connection), std::move(request));
        }) {}

  absl::Status Listen();
  void Stop(absl::Duration grace);
  int port() const { return http_.port(); }

 private:
  void OnAccept(tcp::socket socket, const Connection::Handler& handler, TlsContext* tls,
                int max_connections);

  const GatewayOptions options_;
  const ConnectionOptions connection_options_;
  HttpStats stats_;
  ApiHandler api_;
  std::unique_ptr<TlsContext> tls_;  // null: plain
  const Connection::Handler handler_, health_handler_;
  const std::shared_ptr<net::io_context> io_ = std::make_shared<net::io_context>();
  Listener http_{io_.get(), [this](tcp::socket socket) {
                   OnAccept(std::move(socket), handler_, tls_.get(),
                            options_.limits.max_connections);
                 }};
  Listener health_{io_.get(), [this](tcp::socket socket) {
                     OnAccept(std::move(socket), health_handler_, /*tls=*/nullptr,
                              options_.limits.max_connections + kHealthConnections);
                   }};
  OpenConnections<Connection> connections_;
  std::vector<std::thread> threads_;

  absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

absl::Status Gateway::Impl::Listen() {
  TIDAL_RETURN_IF_ERROR(options_.Validate());
  if (options_.tls.enabled()) {
    TIDAL_ASSIGN_OR_RETURN(tls_, TlsContext::Load(options_.tls, TlsProtocol::kHttp1));
  }
  TIDAL_RETURN_IF_ERROR(http_.Listen("http_port", options_.host, options_.port));
  if (options_.health_port != 0) {
    TIDAL_RETURN_IF_ERROR(health_.Listen("health_port", options_.host, options_.health_port));
  }
  for (int i = 0; i < options_.io_threads; ++i) threads_.emplace_back([this] { io_->run(); });
  return absl::OkStatus();
}

void Gateway::Impl::OnAccept(tcp::socket socket, const Connection::Handler& handler,
                             TlsContext* tls, int max_connections) {
  const bool full = stats_.connections() >= max_connections;
  Transport transport(std::move(socket), tls == nullptr ? nullptr : tls->current());
  const auto connection =
      std::make_shared<Connection>(io_, std::move(transport), connection_options_, handler, stats_);
  if (!connections_.Add(connection)) return;
  full ? connection->Reject() : connection->Start();
}

void Gateway::Impl::Stop(absl::Duration grace) {
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_) return;
    stopped_ = true;
  }
  api_.Drain();
  stats_.WaitForNoRequests(grace);
  http_.Close();
  health_.Close();
  connections_.CloseAll();
  for (std::thread& thread : threads_) thread.join();
}

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Start(GatewayOptions options,
                                                        std::unique_ptr<ServerChannel> channel) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(channel));
  TIDAL_RETURN_IF_ERROR(impl->Listen());
  return std::unique_ptr<Gateway>(new Gateway(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Start(
    GatewayOptions options, const std::shared_ptr<grpc::Channel>& channel) {
  return Start(std::move(options), std::make_unique<ServerChannel>(channel));
}

Gateway::Gateway(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Gateway::~Gateway() { Stop(absl::ZeroDuration()); }

int Gateway::port() const { return impl_->port(); }

void Gateway::Stop(absl::Duration grace) { impl_->Stop(grace); }

}  // namespace tidal
