#include "server/config/door_flags.h"

#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "server/config/byte_size.h"

ABSL_FLAG(std::vector<std::string>, api_key, {},
          "Keys, with commas between, one of which requests over HTTP and gRPC must carry as "
          "\"Authorization: Bearer KEY\". Empty, and no api_key_file: none is asked for.");
ABSL_FLAG(std::string, api_key_file, "",
          "File with a key a line, KEY or NAME: KEY, read again when it changes. Requests of one "
          "name are one tenant.");
ABSL_FLAG(std::string, tls_cert_file, "",
          "PEM file with the certificate chain of the ports, read again when it changes. Empty: no "
          "TLS.");
ABSL_FLAG(std::string, tls_key_file, "", "PEM file with the private key of tls_cert_file.");
ABSL_FLAG(std::string, tls_client_ca_file, "",
          "PEM file with the certificates that sign those of clients, which then must show one. "
          "Empty: clients need none.");
ABSL_FLAG(int32_t, health_port, 0,
          "Port that answers /health, /health/started, /health/live, /health/ready, /ping, "
          "/load, /metrics and /version, "
          "and nothing else, over HTTP without TLS: for probes and Prometheus. 0: none.");
ABSL_FLAG(
    std::vector<std::string>, allowed_origins, {},
    "Origins, with commas between, whose pages may use the HTTP API from a browser (CORS), as "
    "in https://app.example.com; * for all. Empty: none.");
ABSL_FLAG(std::string, root_path, "",
          "Prefix of all paths, as in /llm, under which a proxy offers the HTTP API. Requests are "
          "answered with it and without.");
ABSL_FLAG(
    bool, enable_force_include_usage, false,
    "Streams of OpenAI's completions and chats tell of their usage in every chunk, also where "
    "stream_options does not ask for it.");
ABSL_FLAG(
    bool, return_tokens_as_token_ids, false,
    "Log probabilities of completions and chats name tokens by their ids (token_id:123) where "
    "the request does not say how.");
ABSL_FLAG(int32_t, max_connections, tidal::HttpLimits().max_connections,
          "Connections held, of HTTP and of gRPC each; more are answered 503, or closed.");
ABSL_FLAG(tidal::ByteSize, max_header_bytes, {tidal::HttpLimits().max_header_bytes},
          "Largest header of an HTTP request, which is answered 431 beyond it, or of a gRPC call, "
          "whose connection is ended.");
ABSL_FLAG(tidal::ByteSize, max_held_request_bytes, {tidal::HttpLimits().max_held_request_bytes},
          "Largest sum of the HTTP requests in memory; beyond it those over 64KiB are answered "
          "503.");
ABSL_FLAG(absl::Duration, http_idle_timeout, tidal::HttpLimits().http_idle_timeout,
          "An HTTP connection is closed when no request begins for so long.");
ABSL_FLAG(absl::Duration, http_header_timeout, tidal::HttpLimits().http_header_timeout,
          "Time for a TLS handshake, and for the header of a request; then it is answered 408, or "
          "its gRPC connection closed.");
ABSL_FLAG(absl::Duration, http_body_timeout, tidal::HttpLimits().http_body_timeout,
          "Time for the body of a request to arrive; then it is answered 408.");
ABSL_FLAG(absl::Duration, http_write_timeout, tidal::HttpLimits().http_write_timeout,
          "A client that takes no byte of its reply for so long is cut off.");

namespace tidal {

DoorConfig DoorConfigFromFlags() {
  DoorConfig config;
  config.api_keys = absl::GetFlag(FLAGS_api_key);
  config.api_key_file = absl::GetFlag(FLAGS_api_key_file);
  config.tls.cert_file = absl::GetFlag(FLAGS_tls_cert_file);
  config.tls.key_file = absl::GetFlag(FLAGS_tls_key_file);
  config.tls.client_ca_file = absl::GetFlag(FLAGS_tls_client_ca_file);
  config.health_port = absl::GetFlag(FLAGS_health_port);
  config.allowed_origins = absl::GetFlag(FLAGS_allowed_origins);
  config.root_path = absl::GetFlag(FLAGS_root_path);
  config.return_tokens_as_token_ids = absl::GetFlag(FLAGS_return_tokens_as_token_ids);
  config.enable_force_include_usage = absl::GetFlag(FLAGS_enable_force_include_usage);
  config.http.max_connections = absl::GetFlag(FLAGS_max_connections);
  config.http.max_header_bytes = absl::GetFlag(FLAGS_max_header_bytes).bytes;
  config.http.max_held_request_bytes = absl::GetFlag(FLAGS_max_held_request_bytes).bytes;
  config.http.http_idle_timeout = absl::GetFlag(FLAGS_http_idle_timeout);
  config.http.http_header_timeout = absl::GetFlag(FLAGS_http_header_timeout);
  config.http.http_body_timeout = absl::GetFlag(FLAGS_http_body_timeout);
  config.http.http_write_timeout = absl::GetFlag(FLAGS_http_write_timeout);
  return config;
}

}  // namespace tidal
