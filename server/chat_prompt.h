// The prompt of a chat: its messages, tools and documents checked, and put through the template.
#ifndef TIDAL_SERVER_CHAT_PROMPT_H_
#define TIDAL_SERVER_CHAT_PROMPT_H_

#include <string>

#include "absl/status/statusor.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/text/chat_template.h"

namespace tidal {

// Text, with its special tokens written out. INVALID_ARGUMENT "chat.messages[2].role: must be ...,
// got ..."; "chat: ..." when the template refuses, in its words, exceeds its limits, or is none
// (null).
absl::StatusOr<std::string> RenderChat(const v1::Chat& chat, const ChatTemplate* chat_template);

}  // namespace tidal

#endif  // TIDAL_SERVER_CHAT_PROMPT_H_
