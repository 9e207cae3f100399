#include "server/grpc/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/server_posix.h>

#include <chrono>
#include <mutex>
#include <utility>

#include "engine/base/status_macros.h"
#include "server/grpc/grpc_door.h"
#include "server/grpc/health_service.h"
#include "server/grpc/inference_service.h"
#include "server/grpc/reflection_service.h"

namespace tidal {
namespace {

// Names in grpc.health.v1.
constexpr char kServer[] = "";
constexpr char kInference[] = "tidal.v1.Inference";
constexpr char kLive[] = "live";
constexpr char kAccepting[] = "accepting";

constexpr int kKeepaliveMs = 30'000;         // a silent client is asked whether it is there
constexpr int kKeepaliveTimeoutMs = 20'000;  // and dropped when it does not answer
constexpr int kMinClientPingMs = 10'000;     // clients may ping this often

// For clients to take the last bytes and leave.
constexpr absl::Duration kGoodbyeTime = absl::Seconds(1);

}  // namespace

class GrpcServer::Impl {
 public:
  Impl(GenerationService* service, std::shared_ptr<const ApiKeys> api_keys)
      : inference(MakeInferenceService(service, std::move(api_keys))),
        health({kServer, kInference, kLive, kAccepting}),
        reflection(MakeReflectionService(
            {kInference, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
             "grpc.reflection.v1alpha.ServerReflection"})) {}

  void SetReady(bool ready) {
    health.SetServing(kServer, ready);
    health.SetServing(kInference, ready);
  }

  std::unique_ptr<grpc::Service> inference;
  HealthService health;
  std::unique_ptr<grpc::Service> reflection;
  std::unique_ptr<grpc::Server> server;  // ends before the services
  std::unique_ptr<GrpcDoor> door;        // last: it hands connections to the server
};

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcServer::~GrpcServer() { Stop(absl::ZeroDuration()); }

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerOptions& options,
                                                              GenerationService* service) {
  static std::once_flag old_reflection;
  std::call_once(old_reflection, grpc::reflection::InitProtoReflectionServerBuilderPlugin);

  auto impl = std::make_unique<Impl>(service, options.api_keys);
  grpc::ServerBuilder builder;
  builder.RegisterService(impl->inference.get());
  builder.RegisterService(impl->health.service());
  builder.RegisterService(impl->reflection.get());
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, options.max_header_bytes);
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
  if (impl->server == nullptr) return absl::InternalError("gRPC could not start its server");

  GrpcDoorOptions door;
  door.host = options.host;
  door.port = options.port;
  door.tls = options.tls;
  door.max_connections = options.max_connections;
  door.header_timeout = options.header_timeout;
  door.write_timeout = options.write_timeout;
  door.max_header_block_bytes = options.max_header_bytes;
  door.hand_over = [server = impl->server.get()](int file) {
    grpc::AddInsecureChannelFromFd(server, file);
  };
  TIDAL_ASSIGN_OR_RETURN(impl->door, GrpcDoor::Open(std::move(door)));
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(impl)));
}

int GrpcServer::port() const { return impl_->door->port(); }

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
  impl_->door->StopListening();
  impl_->server->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  impl_->door->Close(kGoodbyeTime);
}

std::string GrpcServer::RenderMetrics() const { return impl_->door->RenderMetrics(); }

}  // namespace tidal
