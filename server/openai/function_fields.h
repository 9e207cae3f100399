// Tools as OpenAI's clients knew them first: `functions`, and `function_call` in three places.
#ifndef TIDAL_SERVER_OPENAI_FUNCTION_FIELDS_H_
#define TIDAL_SERVER_OPENAI_FUNCTION_FIELDS_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "server/openai/json_fields.h"
#include "server/openai/openai_codec.h"

namespace tidal {

// `functions` to tools. `body` is the text that `fields` was parsed from.
void ReadFunctions(JsonFields& fields, absl::string_view body, v1::Chat& chat);

// `function_call`: which of the functions may be called, once at most. The reply then has a
// function_call, too.
void ReadFunctionChoice(JsonFields& fields, v1::GenerateRequest& call, ReplyOptions& reply);

// The calls of earlier turns, whose results name no call: those come after it.
class FunctionHistory {
 public:
  // `function_call` of message `index` to a call of a tool, and the role "function" to "tool".
  void ReadMessage(JsonFields& message, size_t index, v1::ChatMessage& out);

 private:
  std::string last_id_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_FUNCTION_FIELDS_H_
