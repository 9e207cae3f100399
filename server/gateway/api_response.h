// HTTP responses with a JSON body.
#ifndef TIDAL_SERVER_GATEWAY_API_RESPONSE_H_
#define TIDAL_SERVER_GATEWAY_API_RESPONSE_H_

#include <string>

#include "server/http/http_message.h"
#include "server/openai/openai_error.h"

namespace tidal {

HttpResponse JsonResponse(std::string body, const std::string& request_id);

// With Retry-After where trying again later makes sense, and WWW-Authenticate for 401.
HttpResponse ErrorResponse(const ApiError& error, const std::string& request_id);

}  // namespace tidal

#endif  // TIDAL_SERVER_GATEWAY_API_RESPONSE_H_
