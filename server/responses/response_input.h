// The input of a Responses request, a string or items, as turns of a chat.
//
// Items are smaller than turns: what the model thought, said and called is an item each, and all
// that come between two inputs of the client's make one turn of the assistant, also where the
// client has put what the model said between a call and its result.
#ifndef TIDAL_SERVER_RESPONSES_RESPONSE_INPUT_H_
#define TIDAL_SERVER_RESPONSES_RESPONSE_INPUT_H_

#include "absl/strings/string_view.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/openai/json_fields.h"
#include "server/openai/left_out.h"
#include "server/responses/response_tools.h"

namespace tidal {

// "instructions" and "input". Instructions and what system and developers say become one turn of
// the system at the beginning: most templates know no other. Items of other kinds than a chat has
// are left out. `body` is the text that `fields` was parsed from. Faults go to fields.status().
void ReadInput(JsonFields& fields, absl::string_view body, v1::Chat& chat, ClientTools& tools,
               LeftOut& left_out);

}  // namespace tidal

#endif  // TIDAL_SERVER_RESPONSES_RESPONSE_INPUT_H_
