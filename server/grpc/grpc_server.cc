#include "server/grpc/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/security/tls_certificate_provider.h>

#include <chrono>
#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/grpc/health_service.h"
#include "server/grpc/inference_service.h"
#include "server/security/tls_context.h"

namespace tidal {
namespace {

// Names in grpc.health.v1.
constexpr char kServer[] = "";
constexpr char kInference[] = "tidal.v1.Inference";
constexpr char kLive[] = "live";
constexpr char kAccepting[] = "accepting";

constexpr int kKeepaliveMs = 30'000;         // a silent client is asked whether it is there
constexpr int kKeepaliveTimeoutMs = 20'000;  // and dropped when it does not answer
constexpr int kHandshakeTimeoutMs = 10'000;  // of TLS and HTTP/2; gRPC's own are two minutes
constexpr int kMinClientPingMs = 10'000;     // clients may ping this often

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(const TlsFiles& tls) {
  TIDAL_RETURN_IF_ERROR(tls.Validate());
  if (!tls.enabled()) return grpc::InsecureServerCredentials();
  // gRPC would start with files it cannot use, and then refuse every client.
  TIDAL_RETURN_IF_ERROR(MakeTlsContext(tls).status());
  using grpc::experimental::FileWatcherCertificateProvider;
  const auto interval = static_cast<unsigned>(absl::ToInt64Seconds(kReloadInterval));
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<FileWatcherCertificateProvider>(tls.key_file, tls.cert_file,
                                                       tls.client_ca_file, interval));
  options.watch_identity_key_cert_pairs();
  if (!tls.client_ca_file.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

std::string Address(const std::string& host, int port) {
  const bool is_ipv6 = absl::StrContains(host, ":") && !absl::StartsWith(host, "[");
  return is_ipv6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

}  // namespace

class GrpcServer::Impl {
 public:
  Impl(GenerationService* service, std::shared_ptr<const ApiKeys> api_keys)
      : inference(MakeInferenceService(service, std::move(api_keys))),
        health({kServer, kInference, kLive, kAccepting}) {}

  void SetReady(bool ready) {
    health.SetServing(kServer, ready);
    health.SetServing(kInference, ready);
  }

  std::unique_ptr<grpc::Service> inference;
  HealthService health;
  int port = 0;
  std::unique_ptr<grpc::Server> server;  // last: it ends before the services
};

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcServer::~GrpcServer() { Stop(absl::ZeroDuration()); }

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerOptions& options,
                                                              GenerationService* service) {
  static std::once_flag reflection;
  std::call_once(reflection, grpc::reflection::InitProtoReflectionServerBuilderPlugin);
  TIDAL_ASSIGN_OR_RETURN(std::shared_ptr<grpc::ServerCredentials> credentials,
                         MakeCredentials(options.tls));

  auto impl = std::make_unique<Impl>(service, options.api_keys);
  const std::string address = Address(options.host, options.port);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, std::move(credentials), &impl->port);
  builder.RegisterService(impl->inference.get());
  builder.RegisterService(impl->health.service());
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  // Otherwise two servers could listen on one port and each get half of the requests.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinClientPingMs);
  if (options.max_connection_age > absl::ZeroDuration()) {
    builder.AddChannelArgument(
        GRPC_ARG_MAX_CONNECTION_AGE_MS,
        static_cast<int>(absl::ToInt64Milliseconds(options.max_connection_age)));
  }
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr || impl->port == 0) {
    return absl::UnavailableError(absl::StrCat("grpc_port: must be an address to listen on, got ",
                                               address,
                                               " (in use, not permitted, or not this machine's)"));
  }
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(impl)));
}

int GrpcServer::port() const { return impl_->port; }

std::shared_ptr<grpc::Channel> GrpcServer::InProcessChannel() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);  // replies are ours
  return impl_->server->InProcessChannel(arguments);
}

void GrpcServer::SetReady(bool ready) { impl_->SetReady(ready); }
void GrpcServer::SetAccepting(bool accepting) { impl_->health.SetServing(kAccepting, accepting); }
void GrpcServer::SetLive(bool live) { impl_->health.SetServing(kLive, live); }

void GrpcServer::Stop(absl::Duration grace) {
  impl_->SetReady(false);
  SetAccepting(false);
  impl_->health.Shutdown();
  impl_->server->Shutdown(absl::ToChronoTime(absl::Now() + grace));
}

}  // namespace tidal
