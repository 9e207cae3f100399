// OpenAI's error objects, and which HTTP status and field a failed call means.
#ifndef TIDAL_SERVER_OPENAI_OPENAI_ERROR_H_
#define TIDAL_SERVER_OPENAI_OPENAI_ERROR_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/openai/openai_codec.h"

namespace tidal {

struct ApiError {
  int http_status = 500;
  std::string message;
  std::string type;         // "invalid_request_error", ...
  std::string param;        // the field at fault, as the client names it; empty = null
  std::string code;         // "model_not_found", ...; empty = null
  int64_t retry_after = 1;  // seconds; of 429 and 503
};

// The error of `status`, whose message may start with the field at fault ("sampling.temperature:
// must be ..."). The field loses its path in our messages, in `param` and in the message.
ApiError ToApiError(const absl::Status& status, const ReplyOptions& reply = {});

// An error of the HTTP layer itself: 404, 405, 408, 413 ...
ApiError HttpError(int http_status, absl::string_view message, absl::string_view code = "");

// {"error": {"message", "type", "param", "code"}}
std::string RenderError(const ApiError& error);

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_OPENAI_ERROR_H_
