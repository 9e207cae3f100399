// Anthropic's Messages API, as the gateway meets it.
#ifndef TIDAL_SERVER_ANTHROPIC_MESSAGES_API_H_
#define TIDAL_SERVER_ANTHROPIC_MESSAGES_API_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/openai/api_reply.h"

namespace tidal {

// Of /v1/messages.
absl::StatusOr<ApiRequest> ReadMessages(absl::string_view body);

// Of /v1/messages/count_tokens, whose request is ParseCountTokensRequest()'s: {"input_tokens"}.
std::string RenderCountTokensResponse(const v1::TokenizeResponse& response);

extern const ApiFormat kMessagesFormat;

}  // namespace tidal

#endif  // TIDAL_SERVER_ANTHROPIC_MESSAGES_API_H_
