// tidal-gateway: OpenAI's HTTP API in front of any number of tidal-server processes, until SIGTERM
// or SIGINT.
#include <grpcpp/grpcpp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/status_macros.h"
#include "server/byte_size.h"
#include "server/command_line.h"
#include "server/http/gateway.h"
#include "server/logging.h"
#include "server/logging_flags.h"

ABSL_FLAG(std::string, grpc_target, "127.0.0.1:50051",
          "The servers, as gRPC names targets: HOST:PORT, dns:///NAME:PORT, ipv4:A:PORT,B:PORT. "
          "Where a name has several addresses, requests go to them in turn.");
ABSL_FLAG(std::string, grpc_ca_file, "",
          "PEM file with the certificates to trust. Empty: no TLS to the servers.");
ABSL_FLAG(std::string, host, "127.0.0.1", "Address to listen on. 0.0.0.0 or :: for all.");
ABSL_FLAG(int32_t, http_port, 8000, "Port of the OpenAI-compatible HTTP API. 0: any free one.");
ABSL_FLAG(int32_t, io_threads, 2, "Threads that serve connections.");
ABSL_FLAG(int32_t, max_connections, 4096, "Connections held; more are answered 503.");
ABSL_FLAG(std::vector<std::string>, api_key, {},
          "Keys, with commas between, one of which requests must carry as \"Authorization: Bearer "
          "KEY\". Empty: none is asked for.");
ABSL_FLAG(tidal::ByteSize, max_request_bytes, tidal::ByteSize{16 << 20},
          "Largest request body accepted.");
ABSL_FLAG(absl::Duration, shutdown_timeout, absl::Seconds(30),
          "Time that running requests get to finish after SIGTERM or SIGINT: 30s, 2m.");

namespace {

constexpr char kUsage[] =
    "Serves OpenAI's HTTP API from tidal-server processes, which it reaches over gRPC.\n\n"
    "  tidal-gateway --grpc_target=dns:///servers:50051 [--http_port=8000] [--config=FILE]\n\n"
    "SIGTERM or SIGINT drains: running requests finish, new ones are refused. A second one ends it "
    "at once.";

constexpr int kKeepaliveMs = 30'000;
constexpr int kMaxReconnectBackoffMs = 5'000;

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const std::string& ca_file) {
  if (ca_file.empty()) return grpc::InsecureChannelCredentials();
  std::ifstream file(ca_file, std::ios::binary);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs.assign(std::istreambuf_iterator<char>(file), {});
  if (options.pem_root_certs.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("grpc_ca_file: must be a readable file, got ", ca_file));
  }
  return grpc::SslCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel() {
  TIDAL_ASSIGN_OR_RETURN(auto credentials, Credentials(absl::GetFlag(FLAGS_grpc_ca_file)));
  grpc::ChannelArguments arguments;
  arguments.SetLoadBalancingPolicyName("round_robin");
  arguments.SetMaxReceiveMessageSize(-1);  // a whole reply is one message
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectBackoffMs);
  return grpc::CreateCustomChannel(absl::GetFlag(FLAGS_grpc_target), credentials, arguments);
}

absl::StatusOr<tidal::GatewayOptions> OptionsFromFlags() {
  tidal::GatewayOptions options;
  options.host = absl::GetFlag(FLAGS_host);
  options.port = absl::GetFlag(FLAGS_http_port);
  options.io_threads = absl::GetFlag(FLAGS_io_threads);
  options.max_connections = absl::GetFlag(FLAGS_max_connections);
  options.api_keys = absl::GetFlag(FLAGS_api_key);
  options.max_body_bytes = static_cast<size_t>(absl::GetFlag(FLAGS_max_request_bytes).bytes);
  TIDAL_RETURN_IF_ERROR(options.Validate());
  return options;
}

absl::Status StartLogging() {
  TIDAL_ASSIGN_OR_RETURN(const tidal::LogLevel level, tidal::LogLevelFromFlags());
  TIDAL_ASSIGN_OR_RETURN(const tidal::LogFormat format, tidal::LogFormatFromFlags());
  tidal::InitLogging(level, format);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<tidal::Gateway>> StartGateway(tidal::GatewayOptions options) {
  TIDAL_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, OpenChannel());
  return tidal::Gateway::Start(std::move(options), std::move(channel));
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "tidal-gateway: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // our own errors say more
  signal(SIGPIPE, SIG_IGN);
  const std::vector<std::string> rest = tidal::ParseCommandLine(argc, argv, kUsage);
  if (!rest.empty()) {
    return Fail(absl::InvalidArgumentError("arguments: must be flags only, got " + rest.front()));
  }
  absl::StatusOr<tidal::GatewayOptions> options = OptionsFromFlags();
  if (!options.ok()) return Fail(options.status());
  if (const absl::Status status = StartLogging(); !status.ok()) return Fail(status);
  if (tidal::PrintConfigIfAsked()) return 0;
  tidal::LogUnknownVariables();

  // Before any thread starts, so that all of them leave these signals to sigwait().
  sigset_t end_signals;
  sigemptyset(&end_signals);
  sigaddset(&end_signals, SIGTERM);
  sigaddset(&end_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &end_signals, nullptr);

  absl::StatusOr<std::unique_ptr<tidal::Gateway>> gateway = StartGateway(*std::move(options));
  if (!gateway.ok()) return Fail(gateway.status());
  tidal::Log(tidal::LogLevel::kInfo, "gateway listens",
             {{"http", absl::StrCat("http://", absl::GetFlag(FLAGS_host), ":", (*gateway)->port())},
              {"grpc_target", absl::GetFlag(FLAGS_grpc_target)}});

  int received = 0;
  sigwait(&end_signals, &received);
  tidal::Log(tidal::LogLevel::kInfo, "draining");
  std::thread([&end_signals] {
    int second = 0;
    sigwait(&end_signals, &second);
    _exit(1);
  }).detach();
  (*gateway)->Stop(absl::GetFlag(FLAGS_shutdown_timeout));
  tidal::Log(tidal::LogLevel::kInfo, "stopped");
  return 0;
}
