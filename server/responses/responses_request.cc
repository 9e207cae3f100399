#include "server/responses/responses_request.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/openai/json_fields.h"
#include "server/openai/raw_json.h"
#include "server/openai/request_fields.h"
#include "server/openai/structured_output_fields.h"
#include "server/responses/response_echo.h"
#include "server/responses/response_input.h"

namespace tidal {
namespace {

constexpr const char* kIncludeLogprobs = "message.output_text.logprobs";

// What needs something stored here, or a template of OpenAI's, and what to do instead.
struct Refused {
  const char *field, *message;
};
constexpr Refused kRefused[] = {
    {"previous_response_id",
     "must be absent: this server stores no responses, send the conversation in input"},
    {"conversation",
     "must be absent: this server stores no conversations, send the conversation in input"},
    {"prompt", "must be absent: this server stores no prompts, send instructions and input"},
    {"background", "must be false: this server runs nothing without a client that waits for it"},
};

void RefuseStored(JsonFields& fields) {
  for (const Refused& refused : kRefused) {
    const nlohmann::json* value = fields.Find(refused.field);
    if (value != nullptr && *value != false) fields.Fail(refused.field, refused.message);
  }
}

// Fields whose wish is for others to grant: OpenAI's caches, tiers, moderation, hosted tools. Those
// that would change what comes back are named.
void ReadWithoutEffect(JsonFields& fields, LeftOut& left_out) {
  for (const char* name :
       {"prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier"}) {
    fields.String(name);
  }
  fields.Bool("store");
  fields.Object("metadata");
  fields.Unsigned("max_tool_calls");
  for (const char* name : {"context_management", "moderation"}) {
    const nlohmann::json* value = fields.Find(name);
    if (value != nullptr && !value->empty()) left_out.Add(name, "hosted");
  }
}

void ReadTruncation(JsonFields& fields) {
  const auto truncation = fields.String("truncation");
  if (!truncation || *truncation == "disabled") return;
  fields.Fail("truncation",
              "must be \"disabled\": this server drops nothing of a conversation, it refuses one "
              "that is too long");
}

void ReadLogprobs(JsonFields& fields, v1::Output& output, ResponsesOptions& options) {
  if (const nlohmann::json* include = fields.Array("include"); include != nullptr) {
    for (size_t i = 0; i < include->size(); ++i) {
      const nlohmann::json& element = (*include)[i];
      if (!element.is_string()) {
        return fields.Fail(absl::StrCat("include[", i, "]"), "a string", element);
      }
      options.logprobs = options.logprobs || element == kIncludeLogprobs;
    }
  }
  const auto top = fields.Unsigned("top_logprobs");
  if (options.logprobs) output.set_logprobs(top.value_or(0));
  ReadLogprobTokenIds(fields, output);
}

// {"format": {"type", ...}, "verbosity"}; gives the verbosity.
std::optional<std::string> ReadText(JsonFields& fields, absl::string_view body,
                                    v1::GenerateRequest& call, ResponsesOptions& options) {
  const nlohmann::json* object = fields.Object("text");
  if (object == nullptr) return std::nullopt;
  JsonFields text(*object, "text.");
  auto verbosity = ReadVerbosity(text, "verbosity");
  if (const nlohmann::json* format_object = text.Object("format"); format_object != nullptr) {
    JsonFields format(*format_object, "text.format.");
    const std::string type = format.String("type").value_or("");
    const bool twice = type != "text" && call.has_structured_output();
    if (twice) text.Fail("format", R"(must be absent or {"type": "text"} beside another)");
    v1::StructuredOutput wanted;
    if (type == "json_schema") {
      if (format.Object("schema") == nullptr) format.Fail("schema", "must be given");
      wanted.set_json_schema(
          std::string(RawMember(RawMember(RawMember(body, "text"), "format"), "schema")));
      wanted.set_strict(format.Bool("strict").value_or(false));
      options.structure_field = "text.format.schema";
    } else if (type == "json_object") {
      wanted.set_json_object(true);
      options.structure_field = "text.format";
    } else if (type != "text") {
      format.Fail("type", R"("text", "json_object" or "json_schema")", type);
    }
    text.Adopt(format.status());
    if (type != "text") *call.mutable_structured_output() = std::move(wanted);
  }
  fields.Adopt(text.status());
  return verbosity;
}

std::optional<std::string> ReadReasoningEffort(JsonFields& fields) {
  const nlohmann::json* object = fields.Object("reasoning");
  if (object == nullptr) return std::nullopt;
  JsonFields reasoning(*object, "reasoning.");
  auto effort = ReadEffort(reasoning, "effort");
  reasoning.String("summary");  // there is none: the reasoning itself comes back
  fields.Adopt(reasoning.status());
  return effort;
}

}  // namespace

absl::StatusOr<ResponsesRequest> ParseResponsesRequest(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(body));
  JsonFields fields(json);
  ResponsesRequest request;
  ResponsesOptions& options = request.options;
  v1::GenerateRequest& call = request.call;
  RefuseStored(fields);
  ReadWithoutEffect(fields, request.left_out);
  ReadTruncation(fields);

  OpenAiRequest shared;
  ReadSharedFields(fields, call, shared);
  if (shared.reply.n != 1) fields.Fail("n", "must be 1, this API has one output");
  call.mutable_output()->clear_return_token_ids();  // there is no place for them
  request.request_id = std::move(shared.request_id);
  options.stream = shared.reply.stream;
  options.model = call.model();
  if (auto value = fields.Unsigned("max_output_tokens", 1)) {
    call.mutable_stopping()->set_max_tokens(*value);
  }
  ReadLogprobs(fields, *call.mutable_output(), options);
  ReadStructuredOutput(fields, body, call, shared.reply);
  options.structure_field = std::move(shared.reply.structure_field);

  v1::Chat& chat = *call.mutable_chat();
  const auto effort = ReadReasoningEffort(fields);
  const auto verbosity = ReadText(fields, body, call, options);
  ReadTemplateVariables(fields, body, effort, verbosity, chat);
  ReadTools(fields, body, /*path=*/"", chat, options.tools, request.left_out);
  ReadInput(fields, body, chat, options.tools, request.left_out);
  v1::ReplyParsing& parsing = *call.mutable_output()->mutable_parsing();
  parsing.set_reasoning(true);
  options.include_reasoning = fields.Bool("include_reasoning").value_or(true);
  if (auto budget = fields.Unsigned("thinking_token_budget")) {
    parsing.set_thinking_token_budget(*budget);
  }
  ReadCallableTools(fields, options.tools, parsing, request.left_out);
  TIDAL_RETURN_IF_ERROR(fields.status());
  options.echo = EchoOf(fields, body);
  return request;
}

}  // namespace tidal
