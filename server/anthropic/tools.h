// The tools of a Messages request, and which of them the model may call.
#ifndef TIDAL_SERVER_ANTHROPIC_TOOLS_H_
#define TIDAL_SERVER_ANTHROPIC_TOOLS_H_

#include "absl/strings/string_view.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/openai/json_fields.h"
#include "server/openai/left_out.h"

namespace tidal {

// "tools" of `fields`, which was parsed from `body`, in OpenAI's form. Those that have a type of
// Anthropic's (web_search_20250305, bash_20250124) come without a schema: its servers run them, or
// its models were trained on them. They are left out.
void ReadTools(JsonFields& fields, absl::string_view body, v1::Chat& chat, LeftOut& left_out);

// "tool_choice", after ReadTools().
void ReadToolChoice(JsonFields& fields, const v1::Chat& chat, v1::ReplyParsing& parsing);

}  // namespace tidal

#endif  // TIDAL_SERVER_ANTHROPIC_TOOLS_H_
