// Anthropic's error objects, and what a failed call means there.
#ifndef TIDAL_SERVER_ANTHROPIC_MESSAGES_ERROR_H_
#define TIDAL_SERVER_ANTHROPIC_MESSAGES_ERROR_H_

#include <string>

#include "absl/status/status.h"
#include "server/openai/openai_error.h"

namespace tidal {

// ToApiError() with the names that Messages has for fields. A prompt that is too long is told in
// Anthropic's words, by which agents know that they have to make it shorter.
ApiError ToMessagesError(const absl::Status& status);

// {"type": "error", "error": {"type", "message"}, "request_id"}; the type is the HTTP status's.
std::string RenderMessagesError(const ApiError& error, const std::string& request_id);

}  // namespace tidal

#endif  // TIDAL_SERVER_ANTHROPIC_MESSAGES_ERROR_H_
