// Anthropic's Messages requests to messages of the service. Pure functions.
//
// As in openai_codec.h: a known field of the wrong type, a value that cannot be and a field that
// would change the meaning but is not supported give INVALID_ARGUMENT "field: must be ..., got
// ..."; unknown fields are ignored and null is absent. docs/messages.md lists the fields.
#ifndef TIDAL_SERVER_ANTHROPIC_MESSAGES_REQUEST_H_
#define TIDAL_SERVER_ANTHROPIC_MESSAGES_REQUEST_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/openai/left_out.h"

namespace tidal {

// What the reply must know of the request.
struct MessagesReplyOptions {
  bool stream = false;
  bool show_thinking = true;  // else its blocks are empty but for the signature
  uint32_t max_tokens = 0;
};

struct MessagesRequest {
  v1::GenerateRequest call;
  MessagesReplyOptions reply;
  LeftOut left_out;
};

absl::StatusOr<MessagesRequest> ParseMessagesRequest(absl::string_view body);

// Of /v1/messages/count_tokens: the same prompt, without "max_tokens".
absl::StatusOr<v1::TokenizeRequest> ParseCountTokensRequest(absl::string_view body);

}  // namespace tidal

#endif  // TIDAL_SERVER_ANTHROPIC_MESSAGES_REQUEST_H_
