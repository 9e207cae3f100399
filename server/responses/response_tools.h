// The tools of a Responses request, as functions that a chat template knows.
//
// The Responses API has kinds of tools that a model is not made for. Custom tools, whose calls are
// free text, are offered as functions with one string; the functions of a namespace under names
// that begin with it. ClientTools says which tool of the client a function is, so that its calls
// come back as the client expects them. What only OpenAI's own servers can run is left out.
#ifndef TIDAL_SERVER_RESPONSES_RESPONSE_TOOLS_H_
#define TIDAL_SERVER_RESPONSES_RESPONSE_TOOLS_H_

#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/openai/json_fields.h"
#include "server/openai/left_out.h"

namespace tidal {

// The one argument of the function that a custom tool is.
inline constexpr const char* kCustomInput = "input";

struct ClientTool {
  std::string name_space;  // empty: none
  std::string name;
  bool custom = false;  // its calls are free text
  std::string path;     // in the request: "tools[2].tools[0]"
  int index = 0;        // in the chat
};

// By the names that the model knows.
using ClientTools = std::map<std::string, ClientTool>;

// The name that the model knows: "space__name".
std::string ModelToolName(absl::string_view name_space, absl::string_view name);

// The tools in `fields`' array "tools" into `chat` and `tools`. `text` is the object that `fields`
// was parsed from, and `path` what its fields' names begin with. Faults go to fields.status(), also
// where two tools have one name.
void ReadTools(JsonFields& fields, absl::string_view text, absl::string_view path, v1::Chat& chat,
               ClientTools& tools, LeftOut& left_out);

// "tool_choice" and "parallel_tool_calls".
void ReadCallableTools(JsonFields& fields, const ClientTools& tools, v1::ReplyParsing& parsing,
                       LeftOut& left_out);

}  // namespace tidal

#endif  // TIDAL_SERVER_RESPONSES_RESPONSE_TOOLS_H_
