// The prompt of a chat: its messages, tools and documents checked, and put through the template.
#ifndef TIDAL_SERVER_GENERATION_CHAT_PROMPT_H_
#define TIDAL_SERVER_GENERATION_CHAT_PROMPT_H_

#include <string>

#include "absl/status/statusor.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/text/chat_template.h"
#include "server/text/special_token_texts.h"
#include "server/text/stand_ins.h"

namespace tidal {

struct ChatPrompt {
  std::string text;    // with its special tokens written out
  StandIns stand_ins;  // in the text, where what the client wrote is to have no special tokens
};

// `escape`: the special tokens that what the client wrote must not become (null: it may).
// INVALID_ARGUMENT "chat.messages[2].role: must be ..., got ..."; "chat: ..." when the template
// refuses, in its words, exceeds its limits, or is none (null).
absl::StatusOr<ChatPrompt> RenderChat(const v1::Chat& chat, const ChatTemplate* chat_template,
                                      const SpecialTokenTexts* escape);

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_CHAT_PROMPT_H_
