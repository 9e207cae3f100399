// The request fields that completions and chat completions share.
#ifndef TIDAL_SERVER_OPENAI_REQUEST_FIELDS_H_
#define TIDAL_SERVER_OPENAI_REQUEST_FIELDS_H_

#include "server/openai/json_fields.h"
#include "server/openai/openai_codec.h"

namespace tidal {

// Reads sampling, stopping, attention, output, stream and identity fields into `call` and
// `request`. Faults go to fields.status().
void ReadSharedFields(JsonFields& fields, v1::GenerateRequest& call, OpenAiRequest& request);

// Fails on the first of the null-terminated `names` that asks for something: not null, false, or
// empty. For fields that would change what the reply means.
void RefuseUnsupported(JsonFields& fields, const char* const* names);

// The messages of a chat and what else its template is given, into `chat`; fails when there are no
// messages. `body` is the text that `fields` was parsed from.
void ReadChat(JsonFields& fields, absl::string_view body, v1::Chat& chat);

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_REQUEST_FIELDS_H_
