#include "server/http/cors.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace tidal {
namespace {

// "*", the origin itself, or nothing where it is not allowed.
std::string AllowedOrigin(const std::vector<std::string>& allowed, const std::string& origin) {
  for (const std::string& entry : allowed) {
    if (entry == "*" || (entry == origin && !origin.empty())) return entry;
  }
  return "";
}

bool IsHeaderList(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("-_, ", absl::string_view(&c, 1));
  });
}

}  // namespace

void AddCorsHeaders(const std::vector<std::string>& allowed, const std::string& origin,
                    HttpHeaders* headers) {
  if (allowed.empty()) return;
  headers->emplace_back("Vary", "Origin");
  const std::string answer = AllowedOrigin(allowed, origin);
  if (answer.empty()) return;
  headers->emplace_back("Access-Control-Allow-Origin", answer);
  headers->emplace_back("Access-Control-Expose-Headers",
                        "X-Request-Id, Request-Id, Retry-After, X-Tidal-Left-Out");
}

std::optional<HttpResponse> AnswerPreflight(const std::vector<std::string>& allowed,
                                            const HttpRequest& request) {
  if (request.method != "OPTIONS" || request.preflight_method.empty()) return std::nullopt;
  if (AllowedOrigin(allowed, request.origin).empty()) return std::nullopt;
  HttpResponse response;
  response.content_type = "text/plain; charset=utf-8";
  response.headers = {{"X-Request-Id", request.request_id},
                      {"Access-Control-Allow-Methods", "GET, HEAD, OPTIONS, POST"},
                      {"Access-Control-Max-Age", "600"}};
  if (!request.preflight_headers.empty() && IsHeaderList(request.preflight_headers)) {
    response.headers.emplace_back("Access-Control-Allow-Headers", request.preflight_headers);
  }
  return response;
}

}  // namespace tidal
