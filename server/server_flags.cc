#include "server/server_flags.h"

#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/time/time.h"
#include "engine/base/status_macros.h"
#include "server/byte_size.h"
#include "server/logging_flags.h"
#include "server/model_flags.h"

ABSL_FLAG(std::string, host, "127.0.0.1",
          "Address to listen on, for HTTP and gRPC. 0.0.0.0 or :: for all.");
ABSL_FLAG(int32_t, http_port, 8000, "Port of the OpenAI-compatible HTTP API. 0: any free one.");
ABSL_FLAG(int32_t, grpc_port, 50051, "Port of the gRPC API. 0: any free one.");
ABSL_FLAG(std::string, tls_cert_file, "",
          "PEM file with the certificate chain of the gRPC port. Empty: no TLS.");
ABSL_FLAG(std::string, tls_key_file, "", "PEM file with the private key of tls_cert_file.");
ABSL_FLAG(std::vector<std::string>, api_key, {},
          "Keys, with commas between, one of which HTTP requests must carry as \"Authorization: "
          "Bearer KEY\". Empty: none is asked for. The gRPC port does not ask.");
ABSL_FLAG(tidal::ByteSize, max_request_bytes, tidal::ByteSize{16 << 20},
          "Largest request accepted, HTTP body or gRPC message.");
ABSL_FLAG(absl::Duration, shutdown_timeout, absl::Seconds(30),
          "Time that running requests get to finish after SIGTERM or SIGINT: 30s, 2m.");
ABSL_FLAG(
    absl::Duration, stall_timeout, absl::Seconds(120),
    "The live probe fails when there is work and no step of the model has ended for so long.");

namespace tidal {
absl::StatusOr<ServerConfig> ServerConfigFromFlags() {
  ServerConfig config;
  TIDAL_ASSIGN_OR_RETURN(config.model, ModelOptionsFromFlags());
  config.host = absl::GetFlag(FLAGS_host);
  config.http_port = absl::GetFlag(FLAGS_http_port);
  config.grpc_port = absl::GetFlag(FLAGS_grpc_port);
  config.tls_cert_file = absl::GetFlag(FLAGS_tls_cert_file);
  config.tls_key_file = absl::GetFlag(FLAGS_tls_key_file);
  config.api_keys = absl::GetFlag(FLAGS_api_key);
  config.max_request_bytes = absl::GetFlag(FLAGS_max_request_bytes).bytes;
  config.shutdown_timeout = absl::GetFlag(FLAGS_shutdown_timeout);
  config.stall_timeout = absl::GetFlag(FLAGS_stall_timeout);
  TIDAL_ASSIGN_OR_RETURN(config.log_level, LogLevelFromFlags());
  TIDAL_ASSIGN_OR_RETURN(config.log_format, LogFormatFromFlags());
  TIDAL_RETURN_IF_ERROR(config.Validate());
  return config;
}

}  // namespace tidal
