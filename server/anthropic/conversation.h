// The conversation of a Messages request as the chat that templates are made for.
#ifndef TIDAL_SERVER_ANTHROPIC_CONVERSATION_H_
#define TIDAL_SERVER_ANTHROPIC_CONVERSATION_H_

#include "absl/strings/string_view.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/openai/json_fields.h"

namespace tidal {

// Reads "system" and "messages" of `fields`, which was parsed from `body`, into `chat`:
//
//   system                     one message, the first; without the line that changes in each
//                              request of one client (kBillingPrefix in the .cc file)
//   text                       content; turns of one role in a row are one turn
//   thinking                   reasoning; redacted_thinking is dropped: nobody here can read it
//   tool_use                   tool_calls, in OpenAI's form
//   tool_result                a message of the role "tool", before the rest of its turn
//   a system message further   text of a user: templates refuse a second one
//   down
//   the assistant's text last  the turn that the model goes on with
//
// Blocks of other kinds (images, documents) are refused by their place and type.
void ReadConversation(JsonFields& fields, absl::string_view body, v1::Chat& chat);

}  // namespace tidal

#endif  // TIDAL_SERVER_ANTHROPIC_CONVERSATION_H_
