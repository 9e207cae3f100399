#include "server/generation/chat_prompt.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/status_macros.h"
#include "server/generation/field_error.h"
#include "server/generation/request_limits.h"
#include "server/text/jinja/json_value.h"
#include "server/text/jinja/operators.h"
#include "server/text/special_token_escape.h"

namespace tidal {
namespace {

using jinja::Dict;
using jinja::Value;

// What a template has under these names comes from fields of the request.
constexpr std::array kReservedVariables = {
    "messages",      "tools",   "documents", "add_generation_prompt", "continue_final_message",
    "chat_template", "tokenize"};

absl::Status WrongType(absl::string_view field, absl::string_view wanted, const Value& got) {
  const auto type = jinja::TypeName(got);
  return InvalidField(field, absl::StrCat("be ", wanted),
                      absl::string_view(type.data(), type.size()));
}

absl::StatusOr<Value> ParseField(const std::string& field, const std::string& json) {
  auto value = jinja::ParseJson(json);
  if (value.ok()) return value;
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", value.status().message()));
}

absl::StatusOr<Value> ParseObject(const std::string& field, const std::string& json) {
  TIDAL_ASSIGN_OR_RETURN(Value value, ParseField(field, json));
  if (!value.is_dict()) return WrongType(field, "a JSON object", value);
  return value;
}

// The member "function" of a tool or a call, which has a name.
absl::StatusOr<Value> FunctionOf(const std::string& field, const Value& object) {
  const Value* function = object.dict().FindName("function");
  const std::string path = field + ".function";
  if (function == nullptr) return InvalidField(path, "be an object", "nothing");
  if (!function->is_dict()) return WrongType(path, "an object", *function);
  const Value* name = function->dict().FindName("name");
  if (name == nullptr) return InvalidField(path + ".name", "be a string", "nothing");
  if (!name->is_string()) return WrongType(path + ".name", "a string", *name);
  return *function;
}

absl::StatusOr<Value> ParseTool(const std::string& field, const std::string& json) {
  TIDAL_ASSIGN_OR_RETURN(Value tool, ParseObject(field, json));
  const Value* type = tool.dict().FindName("type");
  if (type == nullptr || !type->is_string() || type->string() != "function") {
    return InvalidField(field + ".type", "be \"function\"",
                        type == nullptr     ? std::string("nothing")
                        : type->is_string() ? absl::StrCat("\"", type->string().substr(0, 64), "\"")
                                            : std::string("another type"));
  }
  TIDAL_RETURN_IF_ERROR(FunctionOf(field, tool).status());
  return tool;
}

// Clients send a call's arguments as a string of JSON; templates are made for the value in it.
absl::StatusOr<Value> ParseToolCall(const std::string& field, const std::string& json) {
  TIDAL_ASSIGN_OR_RETURN(const Value call, ParseObject(field, json));
  TIDAL_ASSIGN_OR_RETURN(const Value function, FunctionOf(field, call));
  const Value* given = function.dict().FindName("arguments");
  Value arguments(std::make_shared<const Dict>());
  if (given != nullptr && given->is_string() && !given->string().empty()) {
    TIDAL_ASSIGN_OR_RETURN(arguments, ParseField(field + ".function.arguments", given->string()));
  } else if (given != nullptr && given->Truth()) {
    arguments = *given;
  }
  auto parsed_function = std::make_shared<Dict>(function.dict());
  parsed_function->SetName("arguments", std::move(arguments));
  auto parsed_call = std::make_shared<Dict>(call.dict());
  parsed_call->SetName("function", Value(jinja::DictPtr(std::move(parsed_function))));
  return Value(jinja::DictPtr(std::move(parsed_call)));
}

// Each of the JSON texts of a repeated field.
template <typename Texts, typename Parse>
absl::StatusOr<std::vector<Value>> ParseEach(const std::string& field, const Texts& texts,
                                             const Parse& parse) {
  std::vector<Value> values;
  for (int i = 0; i < texts.size(); ++i) {
    TIDAL_ASSIGN_OR_RETURN(Value value, parse(absl::StrCat(field, "[", i, "]"), texts[i]));
    values.push_back(std::move(value));
  }
  return values;
}

// Any: which ones there are is the template's to say.
absl::Status CheckRole(const std::string& field, const std::string& role) {
  const bool fits = !role.empty() && role.size() <= kMaxRoleBytes &&
                    std::all_of(role.begin(), role.end(), [](char c) {
                      return absl::ascii_isalnum(c) || absl::StrContains("_-.", c);
                    });
  if (fits) return absl::OkStatus();
  return InvalidField(
      field, absl::StrCat("be a role of at most ", kMaxRoleBytes, " letters, digits, _, - and ."),
      role.empty() ? "nothing" : absl::StrCat("\"", role.substr(0, kMaxRoleBytes), "\""));
}

absl::StatusOr<ChatTurn> ParseMessage(const std::string& field, const v1::ChatMessage& message) {
  TIDAL_RETURN_IF_ERROR(CheckRole(field + ".role", message.role()));
  if (!message.content().empty() && !message.content_parts().empty()) {
    return InvalidField(field + ".content_parts", "be empty where there is content",
                        message.content_parts_size());
  }
  ChatTurn turn;
  turn.role = message.role();
  turn.content.assign(message.content_parts().begin(), message.content_parts().end());
  if (!message.content().empty()) turn.content.push_back(message.content());
  turn.name = message.name();
  turn.reasoning = message.reasoning();
  turn.tool_call_id = message.tool_call_id();
  TIDAL_ASSIGN_OR_RETURN(turn.tool_calls,
                         ParseEach(field + ".tool_calls", message.tool_calls(), ParseToolCall));
  return turn;
}

absl::StatusOr<Dict> ParseVariables(const std::string& json) {
  const std::string field = "chat.chat_template_kwargs";
  if (json.empty()) return Dict();
  TIDAL_ASSIGN_OR_RETURN(const Value variables, ParseObject(field, json));
  for (const char* name : kReservedVariables) {
    if (variables.dict().FindName(name) == nullptr) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(field, ".", name, ": must be absent, it is not for variables to set"));
  }
  return variables.dict();
}

}  // namespace

absl::StatusOr<ChatPrompt> RenderChat(const v1::Chat& chat, const ChatTemplate* chat_template,
                                      const SpecialTokenTexts* escape) {
  if (chat_template == nullptr) {
    return absl::InvalidArgumentError(
        "chat: must not be used with this model, which has no chat template");
  }
  if (chat.messages().empty()) return InvalidField("chat.messages", "have at least 1 message", 0);
  ChatTemplateInput input;
  input.continue_final_message = chat.continue_final_message();
  if (input.continue_final_message && chat.add_generation_prompt()) {
    return InvalidField("chat.add_generation_prompt", "be false with continue_final_message",
                        "true");
  }
  input.add_generation_prompt = !input.continue_final_message &&
                                (!chat.has_add_generation_prompt() || chat.add_generation_prompt());
  for (int i = 0; i < chat.messages_size(); ++i) {
    TIDAL_ASSIGN_OR_RETURN(ChatTurn turn,
                           ParseMessage(absl::StrCat("chat.messages[", i, "]"), chat.messages(i)));
    input.messages.push_back(std::move(turn));
  }
  TIDAL_ASSIGN_OR_RETURN(input.tools, ParseEach("chat.tools", chat.tools(), ParseTool));
  TIDAL_ASSIGN_OR_RETURN(input.documents,
                         ParseEach("chat.documents", chat.documents(), ParseObject));
  TIDAL_ASSIGN_OR_RETURN(input.variables, ParseVariables(chat.chat_template_kwargs()));
  ChatPrompt prompt;
  if (escape != nullptr) {
    auto stand_ins = EscapeSpecialTokens(*escape, &input);
    if (!stand_ins.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("chat: ", stand_ins.status().message()));
    }
    prompt.stand_ins = *std::move(stand_ins);
  }
  auto text = chat_template->Render(input);
  if (text.ok()) {
    prompt.text = *std::move(text);
    return prompt;
  }
  if (absl::IsFailedPrecondition(text.status())) {
    return absl::InvalidArgumentError(
        absl::StrCat("chat.continue_final_message: must be false, ", text.status().message()));
  }
  // Also where the template takes too many steps: to try again would not help.
  return absl::InvalidArgumentError(absl::StrCat("chat: ", text.status().message()));
}

}  // namespace tidal
