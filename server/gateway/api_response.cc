#include "server/gateway/api_response.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace tidal {

HttpHeaders StandardHeaders(const ResponseContext& context) {
  HttpHeaders headers = {{"X-Request-Id", context.request_id}};
  const std::string other = context.format->request_id_header;
  if (!other.empty()) headers.emplace_back(other, context.request_id);
  return headers;
}

HttpResponse JsonResponse(std::string body, const ResponseContext& context) {
  HttpResponse response;
  response.body = std::move(body);
  response.headers = StandardHeaders(context);
  return response;
}

HttpResponse ErrorResponse(const ApiError& error, const ResponseContext& context) {
  HttpResponse response =
      JsonResponse(context.format->render_error(error, context.request_id), context);
  response.status = error.http_status;
  if (error.http_status == 429 || error.http_status == 503) {
    response.headers.emplace_back("Retry-After", absl::StrCat(error.retry_after));
  }
  if (error.http_status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

}  // namespace tidal
