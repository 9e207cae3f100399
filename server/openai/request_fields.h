// The request fields that APIs share, completions and chat completions most of them.
#ifndef TIDAL_SERVER_OPENAI_REQUEST_FIELDS_H_
#define TIDAL_SERVER_OPENAI_REQUEST_FIELDS_H_

#include "nlohmann/json_fwd.hpp"
#include "server/openai/json_fields.h"
#include "server/openai/openai_codec.h"

namespace tidal {

// Reads sampling, stopping, attention, output, stream and identity fields into `call` and
// `request`. Faults go to fields.status().
void ReadSharedFields(JsonFields& fields, v1::GenerateRequest& call, OpenAiRequest& request);

// "attention", which chooses between full and sparse attention.
void ReadAttention(JsonFields& fields, v1::GenerateRequest& call);

// Fails on the first of the null-terminated `names` that asks for something: not null, false, or
// empty. For fields that would change what the reply means.
void RefuseUnsupported(JsonFields& fields, const char* const* names);

// Gives the template the variables of `defaults`, an object, that the client has not set itself.
void AddTemplateVariables(const nlohmann::ordered_json& defaults, v1::Chat& chat);

// The messages of a chat and what else its template is given, into `chat`; fails when there are no
// messages. `body` is the text that `fields` was parsed from.
void ReadChat(JsonFields& fields, absl::string_view body, v1::Chat& chat);

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_REQUEST_FIELDS_H_
