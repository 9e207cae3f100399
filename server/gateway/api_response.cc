#include "server/gateway/api_response.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace tidal {

HttpResponse JsonResponse(std::string body, const std::string& request_id) {
  HttpResponse response;
  response.body = std::move(body);
  response.headers.emplace_back("X-Request-Id", request_id);
  return response;
}

HttpResponse ErrorResponse(const ApiError& error, const std::string& request_id) {
  HttpResponse response = JsonResponse(RenderError(error), request_id);
  response.status = error.http_status;
  if (error.http_status == 429 || error.http_status == 503) {
    response.headers.emplace_back("Retry-After", absl::StrCat(error.retry_after));
  }
  if (error.http_status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace tidal
