// tidal-gateway: OpenAI's HTTP API in front of any number of tidal-server processes, until SIGTERM
// or SIGINT.
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/status_macros.h"
#include "server/config/byte_size.h"
#include "server/config/command_line.h"
#include "server/config/door_flags.h"
#include "server/config/logging_flags.h"
#include "server/config/memory.h"
#include "server/config/open_files.h"
#include "server/config/tracing_flags.h"
#include "server/gateway/gateway.h"
#include "server/gateway/server_channel.h"
#include "server/observe/logging.h"
#include "server/observe/tracer.h"
#include "server/security/api_keys.h"

ABSL_FLAG(std::string, grpc_target, "127.0.0.1:50051",
          "The servers, as gRPC names targets: HOST:PORT, dns:///NAME:PORT, ipv4:A:PORT,B:PORT. "
          "Where there are several addresses, requests go in turn to those that take any.");
ABSL_FLAG(std::string, grpc_ca_file, "",
          "PEM file with the certificates that sign those of the servers. Empty: no TLS to them. "
          "It and the next two are read again when they change.");
ABSL_FLAG(std::string, grpc_cert_file, "",
          "PEM file with the certificate chain to show to servers that want one.");
ABSL_FLAG(std::string, grpc_key_file, "", "PEM file with the private key of grpc_cert_file.");
ABSL_FLAG(std::string, grpc_server_name, "",
          "The name that the servers' certificates must have. Empty: that of grpc_target.");
ABSL_FLAG(std::string, host, "127.0.0.1", "Address to listen on. 0.0.0.0 or :: for all.");
ABSL_FLAG(int32_t, http_port, 8000, "Port of the OpenAI-compatible HTTP API. 0: any free one.");
ABSL_FLAG(int32_t, io_threads, 2, "Threads that serve connections.");
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

absl::StatusOr<std::unique_ptr<tidal::ServerChannel>> OpenChannel() {
  tidal::ServerChannelOptions options;
  options.target = absl::GetFlag(FLAGS_grpc_target);
  options.tls.ca_file = absl::GetFlag(FLAGS_grpc_ca_file);
  options.tls.cert_file = absl::GetFlag(FLAGS_grpc_cert_file);
  options.tls.key_file = absl::GetFlag(FLAGS_grpc_key_file);
  options.server_name = absl::GetFlag(FLAGS_grpc_server_name);
  options.max_request_bytes = absl::GetFlag(FLAGS_max_request_bytes).bytes;
  return tidal::ServerChannel::Open(std::move(options));
}

absl::StatusOr<tidal::GatewayOptions> OptionsFromFlags(const tidal::DoorConfig& doors) {
  TIDAL_RETURN_IF_ERROR(doors.Validate());
  tidal::GatewayOptions options;
  options.tls = doors.tls;
  options.health_port = doors.health_port;
  options.allowed_origins = doors.allowed_origins;
  options.root_path = doors.root_path;
  options.reply_defaults = {doors.enable_force_include_usage, doors.return_tokens_as_token_ids};
  options.limits = doors.http;
  options.health_service = tidal::kAcceptingHealth;
  options.host = absl::GetFlag(FLAGS_host);
  options.port = absl::GetFlag(FLAGS_http_port);
  options.io_threads = absl::GetFlag(FLAGS_io_threads);
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

absl::StatusOr<std::unique_ptr<tidal::Gateway>> StartGateway(tidal::GatewayOptions options,
                                                             const tidal::DoorConfig& doors) {
  TIDAL_ASSIGN_OR_RETURN(std::unique_ptr<tidal::ServerChannel> channel, OpenChannel());
  TIDAL_ASSIGN_OR_RETURN(options.api_keys,
                         tidal::ApiKeys::Load(doors.api_keys, doors.api_key_file));
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
  signal(SIGHUP, SIG_IGN);  // for a daemon it means "read your files again", which happens anyway
  const std::vector<std::string> rest = tidal::ParseCommandLine(argc, argv, kUsage);
  if (!rest.empty()) {
    return Fail(absl::InvalidArgumentError("arguments: must be flags only, got " + rest.front()));
  }
  const tidal::DoorConfig doors = tidal::DoorConfigFromFlags();
  absl::StatusOr<tidal::GatewayOptions> options = OptionsFromFlags(doors);
  if (!options.ok()) return Fail(options.status());
  const absl::StatusOr<tidal::TracingOptions> tracing = tidal::TracingOptionsFromFlags();
  if (!tracing.ok()) return Fail(tracing.status());
  if (const absl::Status status = StartLogging(); !status.ok()) return Fail(status);
  if (tidal::PrintConfigIfAsked()) return 0;
  tidal::InitMemory();
  tidal::LogUnknownVariables();
  const absl::Status files =
      tidal::RaiseOpenFileLimit(doors.http.max_connections, tidal::kFilesOfHttp);
  if (const absl::Status few = tidal::CheckOpenFiles(); !few.ok()) return Fail(few);
  if (!files.ok()) tidal::Log(tidal::LogLevel::kWarning, files.message());

  // Before any thread starts, so that all of them leave these signals to sigwait().
  sigset_t end_signals;
  sigemptyset(&end_signals);
  sigaddset(&end_signals, SIGTERM);
  sigaddset(&end_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &end_signals, nullptr);

  tidal::Tracer tracer(*tracing, "tidal-gateway");
  options->tracer = &tracer;
  absl::StatusOr<std::unique_ptr<tidal::Gateway>> gateway =
      StartGateway(*std::move(options), doors);
  if (!gateway.ok()) return Fail(gateway.status());
  tidal::Log(tidal::LogLevel::kInfo, "gateway listens",
             {{"http", absl::StrCat(doors.tls.enabled() ? "https://" : "http://",
                                    absl::GetFlag(FLAGS_host), ":", (*gateway)->port())},
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
