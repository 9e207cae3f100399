// HTTP responses with a JSON body.
#ifndef TIDAL_SERVER_GATEWAY_API_RESPONSE_H_
#define TIDAL_SERVER_GATEWAY_API_RESPONSE_H_

#include <string>

#include "server/http/http_message.h"
#include "server/openai/api_reply.h"

namespace tidal {

// Which request a response answers, and in the form of which API.
struct ResponseContext {
  std::string request_id;
  const ApiFormat* format;  // not null
};

// Those of every response: the request's id.
HttpHeaders StandardHeaders(const ResponseContext& context);

HttpResponse JsonResponse(std::string body, const ResponseContext& context);

// With Retry-After where trying again later makes sense, and WWW-Authenticate for 401.
HttpResponse ErrorResponse(const ApiError& error, const ResponseContext& context);

}  // namespace tidal

#endif  // TIDAL_SERVER_GATEWAY_API_RESPONSE_H_
