#include "server/config/server_flags.h"

#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/status_macros.h"
#include "server/config/byte_size.h"
#include "server/config/door_flags.h"
#include "server/config/logging_flags.h"
#include "server/config/model_flags.h"
#include "server/config/tracing_flags.h"

ABSL_FLAG(std::string, host, "127.0.0.1",
          "Address to listen on, for HTTP and gRPC. 0.0.0.0 or :: for all.");
ABSL_FLAG(int32_t, http_port, 8000, "Port of the OpenAI-compatible HTTP API. 0: any free one.");
ABSL_FLAG(int32_t, grpc_port, 50051, "Port of the gRPC API. 0: any free one.");
ABSL_FLAG(absl::Duration, grpc_max_connection_age, absl::Minutes(5),
          "A gRPC connection of this age takes no new calls, so that its client looks again which "
          "servers there are; those that run end on it. 0: no limit.");
ABSL_FLAG(tidal::ByteSize, max_request_bytes, tidal::ByteSize{16 << 20},
          "Largest request accepted, HTTP body or gRPC message.");
ABSL_FLAG(
    std::string, prefix_cache_scope, "tenant",
    "Who shares cached prompts: tenant (requests with keys of one name; everybody where no key "
    "is asked for) or server (all requests). cache_salt divides further.");
ABSL_FLAG(bool, enable_tokenizer_info_endpoint, false,
          "Answer GET /tokenizer_info with the model's tokenizer_config.json and chat template, "
          "here and in the gateways.");
ABSL_FLAG(absl::Duration, shutdown_timeout, absl::Seconds(30),
          "Time that running requests get to finish after SIGTERM or SIGINT: 30s, 2m.");
ABSL_FLAG(absl::Duration, watchdog_timeout, absl::Seconds(120),
          "The server is neither live nor ready when there is work and no step of the model has "
          "ended for so long.");
ABSL_FLAG(
    bool, unready_when_saturated, true,
    "Readiness fails while the queue is full for longer than a moment, so that load balancers "
    "send requests elsewhere. Off where there is no other server: clients get 429 instead.");

namespace tidal {
namespace {

absl::StatusOr<PrefixCacheScope> ParsePrefixCacheScope(const std::string& name) {
  if (name == "tenant") return PrefixCacheScope::kTenant;
  if (name == "server") return PrefixCacheScope::kServer;
  return absl::InvalidArgumentError(
      absl::StrCat("prefix_cache_scope: must be tenant or server, got ", name));
}

}  // namespace

absl::StatusOr<ServerConfig> ServerConfigFromFlags() {
  ServerConfig config;
  TIDAL_ASSIGN_OR_RETURN(config.model, ModelOptionsFromFlags());
  config.host = absl::GetFlag(FLAGS_host);
  config.http_port = absl::GetFlag(FLAGS_http_port);
  config.grpc_port = absl::GetFlag(FLAGS_grpc_port);
  config.doors = DoorConfigFromFlags();
  TIDAL_ASSIGN_OR_RETURN(config.model.prefix_cache_scope,
                         ParsePrefixCacheScope(absl::GetFlag(FLAGS_prefix_cache_scope)));
  config.model.enable_tokenizer_info_endpoint = absl::GetFlag(FLAGS_enable_tokenizer_info_endpoint);
  config.max_request_bytes = absl::GetFlag(FLAGS_max_request_bytes).bytes;
  config.grpc_max_connection_age = absl::GetFlag(FLAGS_grpc_max_connection_age);
  config.shutdown_timeout = absl::GetFlag(FLAGS_shutdown_timeout);
  config.watchdog_timeout = absl::GetFlag(FLAGS_watchdog_timeout);
  config.unready_when_saturated = absl::GetFlag(FLAGS_unready_when_saturated);
  TIDAL_ASSIGN_OR_RETURN(config.log_level, LogLevelFromFlags());
  TIDAL_ASSIGN_OR_RETURN(config.log_format, LogFormatFromFlags());
  TIDAL_ASSIGN_OR_RETURN(config.tracing, TracingOptionsFromFlags());
  TIDAL_RETURN_IF_ERROR(config.Validate());
  return config;
}

}  // namespace tidal
