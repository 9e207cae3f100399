// The request fields that APIs share, completions and chat completions most of them.
#ifndef TIDAL_SERVER_OPENAI_REQUEST_FIELDS_H_
#define TIDAL_SERVER_OPENAI_REQUEST_FIELDS_H_

#include <optional>
#include <string>

#include "nlohmann/json_fwd.hpp"
#include "server/openai/json_fields.h"
#include "server/openai/openai_codec.h"

namespace tidal {

// Reads sampling, stopping, attention, output, stream and identity fields into `call` and
// `request`. Faults go to fields.status().
void ReadSharedFields(JsonFields& fields, v1::GenerateRequest& call, OpenAiRequest& request);

// "attention", which chooses between full and sparse attention.
void ReadAttention(JsonFields& fields, v1::GenerateRequest& call);

// "logprob_token_ids", once output.logprobs is known: which alternatives each token comes with.
void ReadLogprobTokenIds(JsonFields& fields, v1::Output& output);

// Fails on the first of the null-terminated `names` that asks for something: not null, false, or
// empty. For fields that would change what the reply means.
void RefuseUnsupported(JsonFields& fields, const char* const* names);

// Gives the template the variables of `defaults`, an object, that the client has not set itself.
void AddTemplateVariables(const nlohmann::ordered_json& defaults, v1::Chat& chat);

// The messages of a chat and what else its template is given, into `chat`; fails when there are no
// messages. `body` is the text that `fields` was parsed from.
void ReadChat(JsonFields& fields, absl::string_view body, v1::Chat& chat);

// One of the efforts, or verbosities, that models are told; nothing when the field is absent.
std::optional<std::string> ReadEffort(JsonFields& fields, const char* name);
std::optional<std::string> ReadVerbosity(JsonFields& fields, const char* name);

// The fields of a chat that are for its template alone: "documents" and "chat_template_kwargs", to
// which effort and verbosity are added as variables.
void ReadTemplateVariables(JsonFields& fields, absl::string_view body,
                           const std::optional<std::string>& effort,
                           const std::optional<std::string>& verbosity, v1::Chat& chat);

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_REQUEST_FIELDS_H_
