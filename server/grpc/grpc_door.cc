#include "server/grpc/grpc_door.h"

#include <boost/asio/io_context.hpp>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/status_macros.h"
#include "server/grpc/guarded_connection.h"
#include "server/grpc/http2_guard.h"
#include "server/net/listener.h"
#include "server/net/open_connections.h"
#include "server/observe/logging.h"
#include "server/security/tls_context.h"

namespace tidal {

namespace net = boost::asio;
using tcp = net::ip::tcp;

namespace {

// They copy bytes and do TLS; what is asked for is gRPC's threads' work.
constexpr int kThreads = 2;

// All but kOk: a series is there before its first event.
constexpr Http2Guard::Verdict kReasons[] = {
    Http2Guard::Verdict::kNotHttp2, Http2Guard::Verdict::kHeaderTooLarge,
    Http2Guard::Verdict::kHeaderCut, Http2Guard::Verdict::kTooManyIdleFrames};

}  // namespace

class GrpcDoor::Impl {
 public:
  explicit Impl(GrpcDoorOptions options) : options_(std::move(options)) {
    for (const Http2Guard::Verdict reason : kReasons) cut_[reason] = 0;
    connection_options_.limits.max_header_block_bytes = options_.max_header_block_bytes;
    connection_options_.header_timeout = options_.header_timeout;
    connection_options_.write_timeout = options_.write_timeout;
    connection_options_.hand_over = options_.hand_over;
    connection_options_.on_cut = [this](Http2Guard::Verdict verdict) { OnCut(verdict); };
    connection_options_.on_end = [this] { OnEnd(); };
  }

  absl::Status Open() {
    if (options_.tls.enabled()) {
      TIDAL_ASSIGN_OR_RETURN(tls_, TlsContext::Load(options_.tls, TlsProtocol::kHttp2));
    }
    TIDAL_RETURN_IF_ERROR(listener_.Listen("grpc_port", options_.host, options_.port));
    for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { io_.run(); });
    return absl::OkStatus();
  }

  int port() const { return listener_.port(); }
  void StopListening() { listener_.Close(); }
  void Close(absl::Duration grace);
  std::string RenderMetrics() const;

 private:
  void OnAccept(tcp::socket socket);
  void OnCut(Http2Guard::Verdict verdict);
  void OnEnd();

  const GrpcDoorOptions options_;
  GuardedConnectionOptions connection_options_;
  std::unique_ptr<TlsContext> tls_;  // null: plain

  mutable absl::Mutex mutex_;
  int open_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<Http2Guard::Verdict, uint64_t> cut_ ABSL_GUARDED_BY(mutex_);
  OpenConnections<GuardedConnection> connections_;

  net::io_context io_;  // what it still holds at the end are connections, which use the above
  Listener listener_{&io_, [this](tcp::socket socket) { OnAccept(std::move(socket)); }};
  std::vector<std::thread> threads_;
};

void GrpcDoor::Impl::OnAccept(tcp::socket socket) {
  {
    absl::MutexLock lock(&mutex_);
    if (open_ >= options_.max_connections) return;
    ++open_;
  }
  const auto connection = std::make_shared<GuardedConnection>(
      Transport(std::move(socket), tls_ == nullptr ? nullptr : tls_->current()),
      connection_options_);
  if (connections_.Add(connection)) connection->Start();
}

void GrpcDoor::Impl::OnCut(Http2Guard::Verdict verdict) {
  Log(LogLevel::kDebug, "a gRPC connection was ended", {{"reason", VerdictName(verdict)}});
  absl::MutexLock lock(&mutex_);
  ++cut_[verdict];
}

void GrpcDoor::Impl::OnEnd() {
  absl::MutexLock lock(&mutex_);
  --open_;
}

void GrpcDoor::Impl::Close(absl::Duration grace) {
  listener_.Close();
  {
    absl::MutexLock lock(&mutex_);
    const auto empty = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return open_ == 0; };
    mutex_.AwaitWithTimeout(absl::Condition(&empty), grace);
  }
  connections_.CloseAll();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

std::string GrpcDoor::Impl::RenderMetrics() const {
  absl::MutexLock lock(&mutex_);
  std::string text = absl::StrCat(
      "# HELP tidal:grpc_connections Open gRPC connections.\n"
      "# TYPE tidal:grpc_connections gauge\n"
      "tidal:grpc_connections ",
      open_,
      "\n# HELP tidal:grpc_connections_cut_total gRPC connections ended for what the client sent, "
      "by reason.\n# TYPE tidal:grpc_connections_cut_total counter\n");
  for (const auto& [reason, count] : cut_) {
    absl::StrAppend(&text, "tidal:grpc_connections_cut_total{reason=\"", VerdictName(reason),
                    "\"} ", count, "\n");
  }
  return text;
}

absl::StatusOr<std::unique_ptr<GrpcDoor>> GrpcDoor::Open(GrpcDoorOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  TIDAL_RETURN_IF_ERROR(impl->Open());
  return std::unique_ptr<GrpcDoor>(new GrpcDoor(std::move(impl)));
}

GrpcDoor::GrpcDoor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcDoor::~GrpcDoor() { Close(absl::ZeroDuration()); }

int GrpcDoor::port() const { return impl_->port(); }
void GrpcDoor::StopListening() { impl_->StopListening(); }
void GrpcDoor::Close(absl::Duration grace) { impl_->Close(grace); }
std::string GrpcDoor::RenderMetrics() const { return impl_->RenderMetrics(); }

}  // namespace tidal
