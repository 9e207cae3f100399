// An HTTP/1.1 request and response as the gateway's handlers see them.
#ifndef TIDAL_SERVER_HTTP_HTTP_MESSAGE_H_
#define TIDAL_SERVER_HTTP_HTTP_MESSAGE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace tidal {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  // as sent: "GET", "POST", ...
  std::string path;    // target without its query, as sent
  // Header "Authorization", else "Bearer " with that of "X-Api-Key"; empty when both are absent.
  std::string authorization;
  std::string content_type;  // header "Content-Type"; empty when absent
  std::string request_id;    // header "X-Request-Id"; empty when absent
  std::string origin;        // header "Origin"; empty when absent
  // Headers "Access-Control-Request-Method" and "-Headers"; empty when absent.
  std::string preflight_method, preflight_headers;
  std::string load_report_format;  // header "endpoint-load-metrics-format"; empty when absent
  std::string trace_parent;        // headers "traceparent", joined with commas; empty when absent
  std::string trace_state;         // headers "tracestate", likewise
  std::string body;
  bool keep_alive = true;  // the client wants the connection kept
  bool chunked_ok = true;  // HTTP/1.1: a reply may be chunked
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  HttpHeaders headers;
  std::string body;
};

// Head of a reply, blank line included: status line, Date, Server, then `headers`.
std::string RenderHead(int status, const HttpHeaders& headers);

// `data` (not empty) as one chunk of a chunked body.
std::string RenderChunk(absl::string_view data);
inline constexpr absl::string_view kLastChunk = "0\r\n\r\n";

}  // namespace tidal

#endif  // TIDAL_SERVER_HTTP_HTTP_MESSAGE_H_
