#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/http/openai_codec.h"
#include "server/http/request_fields.h"

namespace tidal {
namespace {

constexpr const char* kUnsupported[] = {
    "tools",         "functions", "function_call", "audio", "prediction", "web_search_options",
    "chat_template", "documents", "echo",          nullptr};

constexpr std::array kRoles = {"system", "developer", "user", "assistant", "tool"};

// A string, or text parts, which are joined by line breaks as vLLM does.
void ReadContent(JsonFields& message, const std::string& role, v1::ChatMessage& out) {
  const nlohmann::json* content = message.Find("content");
  if (content == nullptr) {
    // OpenAI's clients send null for an assistant turn without text.
    if (role != "assistant") message.Fail("content", "must be given");
    return;
  }
  if (content->is_string()) return out.set_content(content->get<std::string>());
  if (!content->is_array()) {
    return message.Fail("content", "a string or an array of text parts", *content);
  }
  std::string text;
  for (size_t i = 0; i < content->size(); ++i) {
    const nlohmann::json& part = (*content)[i];
    const std::string name = absl::StrCat("content[", i, "]");
    if (!part.is_object()) return message.Fail(name, "an object", part);
    const auto type = part.find("type");
    if (type == part.end() || *type != "text") {
      return message.Fail(name + ".type", R"("text")", type == part.end() ? nullptr : *type);
    }
    const auto value = part.find("text");
    if (value == part.end() || !value->is_string()) {
      return message.Fail(name + ".text", "a string", value == part.end() ? nullptr : *value);
    }
    absl::StrAppend(&text, i == 0 ? "" : "\n", value->get_ref<const std::string&>());
  }
  out.set_content(std::move(text));
}

void ReadMessage(JsonFields& message, v1::ChatMessage& out) {
  static constexpr const char* kUnsupportedInMessage[] = {"tool_calls", "function_call", "audio",
                                                          nullptr};
  RefuseUnsupported(message, kUnsupportedInMessage);
  const auto role = message.String("role");
  if (!role) return message.Fail("role", "must be given");
  if (std::find(kRoles.begin(), kRoles.end(), *role) == kRoles.end()) {
    return message.Fail("role", R"("system", "developer", "user", "assistant" or "tool")", *role);
  }
  // OpenAI renamed "system"; templates know the old name.
  out.set_role(*role == "developer" ? "system" : *role);
  if (auto name = message.String("name")) out.set_name(*name);
  ReadContent(message, *role, out);
}

// tool_choice "none" and "auto" ask for nothing where there are no tools.
void RefuseToolChoice(JsonFields& fields) {
  const nlohmann::json* choice = fields.Find("tool_choice");
  if (choice != nullptr && *choice != "none" && *choice != "auto") {
    fields.Fail("tool_choice", "must be absent, as tools are not supported");
  }
}

void RefuseModalities(JsonFields& fields) {
  const nlohmann::json* modalities = fields.Array("modalities");
  if (modalities == nullptr) return;
  for (const nlohmann::json& modality : *modalities) {
    if (modality != "text") fields.Fail("modalities", R"(["text"])", modality);
  }
}

void ReadLogprobs(JsonFields& fields, v1::GenerateRequest& call, ReplyOptions& reply) {
  reply.logprobs = fields.Bool("logprobs").value_or(false);
  const auto top = fields.Unsigned("top_logprobs");
  if (reply.logprobs) {
    call.mutable_output()->set_logprobs(top.value_or(0));
  } else if (top && *top > 0) {
    fields.Fail("top_logprobs", "must be absent unless logprobs is true");
  }
}

void ReadMaxTokens(JsonFields& fields, v1::GenerateRequest& call, ReplyOptions& reply) {
  auto value = fields.Unsigned("max_completion_tokens");
  if (value) {
    reply.max_tokens_field = "max_completion_tokens";
  } else {
    value = fields.Unsigned("max_tokens");
  }
  if (value) call.mutable_stopping()->set_max_tokens(*value);
}

}  // namespace

void ReadMessages(JsonFields& fields, v1::Chat& chat) {
  const nlohmann::json* messages = fields.Array("messages");
  if (messages == nullptr || messages->empty()) {
    return fields.Fail("messages", "must be an array of at least one message");
  }
  for (size_t i = 0; i < messages->size(); ++i) {
    const nlohmann::json& element = (*messages)[i];
    const std::string name = absl::StrCat("messages[", i, "]");
    if (!element.is_object()) return fields.Fail(name, "an object", element);
    JsonFields message(element, name + ".");
    ReadMessage(message, *chat.add_messages());
    fields.Adopt(message.status());
  }
  if (auto value = fields.Bool("add_generation_prompt")) chat.set_add_generation_prompt(*value);
  if (auto value = fields.Bool("continue_final_message")) {
    chat.set_continue_final_message(*value);
    // The default prompt for a new turn would contradict it.
    if (*value && !chat.has_add_generation_prompt()) chat.set_add_generation_prompt(false);
  }
}

absl::StatusOr<OpenAiRequest> ParseChatRequest(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(body));
  JsonFields fields(json);
  OpenAiRequest request;
  request.reply.api = OpenAiApi::kChat;
  v1::GenerateRequest call;
  RefuseUnsupported(fields, kUnsupported);
  RefuseToolChoice(fields);
  RefuseModalities(fields);
  ReadSharedFields(fields, call, request);
  ReadLogprobs(fields, call, request.reply);
  ReadMaxTokens(fields, call, request.reply);
  ReadMessages(fields, *call.mutable_chat());
  TIDAL_RETURN_IF_ERROR(fields.status());
  request.calls.push_back(std::move(call));
  return request;
}

}  // namespace tidal
