// What a request asks its outputs to be, and which tools it may call: OpenAI's fields and vLLM's.
#ifndef TIDAL_SERVER_OPENAI_STRUCTURED_OUTPUT_FIELDS_H_
#define TIDAL_SERVER_OPENAI_STRUCTURED_OUTPUT_FIELDS_H_

#include "absl/strings/string_view.h"
#include "server/openai/json_fields.h"
#include "server/openai/openai_codec.h"

namespace tidal {

// `response_format`, `structured_outputs` or one of `guided_json`, `guided_regex`, `guided_choice`,
// `guided_grammar`; two of them are a fault. `body` is the text that `fields` was parsed from: the
// order of a schema's properties is that of the answer.
void ReadStructuredOutput(JsonFields& fields, absl::string_view body, v1::GenerateRequest& call,
                          ReplyOptions& reply);

// `response_format`'s value alone, of any API that has one: {"type": "json_schema", ...}. `text` is
// what `format` was parsed from. Faults go to format.status().
void ReadResponseFormat(JsonFields& format, absl::string_view text, v1::StructuredOutput& out);

// `tool_choice` and `parallel_tool_calls`, of chats.
void ReadToolChoice(JsonFields& fields, v1::GenerateRequest& call, ReplyOptions& reply);

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_STRUCTURED_OUTPUT_FIELDS_H_
