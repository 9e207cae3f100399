#include "server/anthropic/messages_request.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/anthropic/conversation.h"
#include "server/anthropic/tools.h"
#include "server/openai/json_fields.h"
#include "server/openai/raw_json.h"
#include "server/openai/request_fields.h"

namespace tidal {
namespace {

// What only a server that keeps things, or that calls others, could do.
constexpr const char* kUnsupported[] = {"container", "mcp_servers", "thread", nullptr};

constexpr std::array kEfforts = {"low", "medium", "high", "xhigh", "max"};

constexpr uint32_t kMinThinkingBudget = 1024;

// "thinking".
struct Thinking {
  std::optional<bool> wanted;  // absent: as the model's template has it
  std::optional<uint32_t> budget;
  bool shown = true;
};

Thinking ReadThinking(JsonFields& fields) {
  Thinking thinking;
  const nlohmann::json* object = fields.Object("thinking");
  if (object == nullptr) return thinking;
  JsonFields in(*object, "thinking.");
  const std::string type = in.String("type").value_or("");
  thinking.wanted = type != "disabled";
  if (type == "enabled") {
    thinking.budget = in.Unsigned("budget_tokens", kMinThinkingBudget);
    if (!thinking.budget) in.Fail("budget_tokens", "must be given");
  } else if (type != "disabled" && type != "adaptive" && type != "between_tools") {
    in.Fail("type", R"("enabled", "disabled", "adaptive" or "between_tools")", type);
  }
  if (const auto display = in.String("display")) {
    thinking.shown = *display != "omitted";
    if (thinking.shown && *display != "summarized") {
      in.Fail("display", R"("summarized" or "omitted")", *display);
    }
  }
  fields.Adopt(in.status());
  return thinking;
}

// "output_config", whose effort goes to the template and whose format, or the older "output_format"
// where it has none, is what the answer has to be. `body`: as for ReadPrompt().
struct OutputConfig {
  std::string effort;  // empty: not given
  std::string schema;  // JSON text; empty: none
};

void ReadFormat(JsonFields& owner, const char* name, const std::string& path,
                absl::string_view text, OutputConfig* out) {
  const nlohmann::json* object = owner.Object(name);
  if (object == nullptr) return;
  JsonFields format(*object, path);
  const auto type = format.String("type");
  if (type != "json_schema") format.Fail("type", R"("json_schema")", type.value_or(""));
  if (format.Object("schema") == nullptr) format.Fail("schema", "must be given");
  out->schema = std::string(RawMember(RawMember(text, name), "schema"));
  owner.Adopt(format.status());
}

OutputConfig ReadOutputConfig(JsonFields& fields, absl::string_view body) {
  OutputConfig out;
  ReadFormat(fields, "output_format", "output_format.", body, &out);
  const nlohmann::json* object = fields.Object("output_config");
  if (object == nullptr) return out;
  JsonFields config(*object, "output_config.");
  out.effort = config.String("effort").value_or("");
  if (!out.effort.empty() &&
      std::find(kEfforts.begin(), kEfforts.end(), out.effort) == kEfforts.end()) {
    config.Fail("effort", R"("low", "medium", "high", "xhigh" or "max")", out.effort);
  }
  ReadFormat(config, "format", "output_config.format.", RawMember(body, "output_config"), &out);
  fields.Adopt(config.status());
  return out;
}

// What the template is given besides the conversation; the client's own variables go first.
void ReadVariables(JsonFields& fields, absl::string_view body, const Thinking& thinking,
                   const std::string& effort, v1::Chat& chat) {
  if (fields.Object("chat_template_kwargs") != nullptr) {
    chat.set_chat_template_kwargs(std::string(RawMember(body, "chat_template_kwargs")));
  }
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();
  if (thinking.wanted) {
    for (const char* name : {"enable_thinking", "thinking"}) variables[name] = *thinking.wanted;
  }
  if (!effort.empty()) variables["reasoning_effort"] = effort;
  AddTemplateVariables(variables, chat);
}

void ReadSampling(JsonFields& fields, v1::Sampling& sampling) {
  if (const auto value = fields.Number("temperature")) {
    sampling.set_temperature(*value);
    if (*value < 0 || *value > 1) {
      fields.Fail("temperature", "a number in [0, 1]", *fields.Find("temperature"));
    }
  }
  if (const auto value = fields.Number("top_p")) sampling.set_top_p(*value);
  if (const auto value = fields.Integer("top_k", 0, std::numeric_limits<int32_t>::max())) {
    sampling.set_top_k(static_cast<int32_t>(*value));
  }
}

// What is not cut to fit is refused, and clients ask for as much as their own model could give.
void ReadStopping(JsonFields& fields, v1::Stopping& stopping) {
  if (const auto value = fields.Unsigned("max_tokens", 1)) {
    stopping.set_max_tokens(*value);
  } else {
    fields.Fail("max_tokens", "must be given");
  }
  stopping.set_fit_max_tokens(true);
  if (const auto value = fields.StringOrStrings("stop_sequences")) {
    stopping.mutable_stop()->Add(value->begin(), value->end());
  }
}

// What the API has no field for and the service does: as in our other APIs.
void ReadOwnFields(JsonFields& fields, v1::GenerateRequest& call) {
  ReadAttention(fields, call);
  if (const auto value = fields.Integer("priority", std::numeric_limits<int32_t>::min(),
                                        std::numeric_limits<int32_t>::max())) {
    call.set_priority(static_cast<int32_t>(*value));
  }
  if (const auto value = fields.String("cache_salt")) call.set_cache_salt(*value);
}

}  // namespace

absl::StatusOr<MessagesRequest> ParseMessagesRequest(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(body));
  JsonFields fields(json);
  MessagesRequest request;
  v1::GenerateRequest& call = request.call;
  RefuseUnsupported(fields, kUnsupported);
  if (const auto model = fields.String("model")) call.set_model(*model);
  ReadStopping(fields, *call.mutable_stopping());
  ReadSampling(fields, *call.mutable_sampling());
  const Thinking thinking = ReadThinking(fields);
  const OutputConfig output = ReadOutputConfig(fields, body);
  v1::Chat& chat = *call.mutable_chat();
  ReadConversation(fields, body, chat);
  ReadTools(fields, body, chat, request.left_out);
  ReadVariables(fields, body, thinking, output.effort, chat);
  ReadOwnFields(fields, call);

  call.set_n(1);
  v1::ReplyParsing& parsing = *call.mutable_output()->mutable_parsing();
  parsing.set_reasoning(true);
  ReadToolChoice(fields, chat, parsing);
  const uint32_t max_tokens = call.stopping().max_tokens();
  if (thinking.budget) {
    parsing.set_thinking_token_budget(*thinking.budget);
    parsing.set_fit_thinking_token_budget(true);  // agents ask every model to think
    if (*thinking.budget >= max_tokens) {
      fields.Fail("thinking.budget_tokens", absl::StrCat("must be less than max_tokens (",
                                                         max_tokens, "), got ", *thinking.budget));
    }
  }
  if (!output.schema.empty()) {
    call.mutable_structured_output()->set_json_schema(output.schema);
    call.mutable_structured_output()->set_strict(true);
  }
  request.reply.stream = fields.Bool("stream").value_or(false);
  request.reply.show_thinking = thinking.shown;
  request.reply.max_tokens = max_tokens;
  call.mutable_output()->set_final_only(!request.reply.stream);
  TIDAL_RETURN_IF_ERROR(fields.status());
  return request;
}

absl::StatusOr<v1::TokenizeRequest> ParseCountTokensRequest(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(body));
  JsonFields fields(json);
  v1::TokenizeRequest request;
  LeftOut left_out;
  RefuseUnsupported(fields, kUnsupported);
  if (const auto model = fields.String("model")) request.set_model(*model);
  ReadConversation(fields, body, *request.mutable_chat());
  ReadTools(fields, body, *request.mutable_chat(), left_out);
  ReadVariables(fields, body, ReadThinking(fields), ReadOutputConfig(fields, body).effort,
                *request.mutable_chat());
  TIDAL_RETURN_IF_ERROR(fields.status());
  return request;
}

}  // namespace tidal
