#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/openai/function_fields.h"
#include "server/openai/openai_codec.h"
#include "server/openai/raw_json.h"
#include "server/openai/request_fields.h"
#include "server/openai/structured_output_fields.h"

namespace tidal {
namespace {

constexpr const char* kUnsupportedInChats[] = {"audio", "prediction", "web_search_options",
                                               "chat_template", nullptr};
constexpr const char* kUnsupportedInChatBatches[] = {"stream", "echo", nullptr};

// A request may have several conversations; each is a call of its own.
constexpr size_t kMaxChats = 128;

constexpr std::array kEfforts = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};

// The parts that are text, and the member that has it.
struct TextPart {
  const char *type, *member;
};
constexpr TextPart kTextParts[] = {{"text", "text"},
                                   {"input_text", "text"},
                                   {"output_text", "text"},
                                   {"refusal", "refusal"},
                                   {"thinking", "thinking"}};

void ReadPart(JsonFields& message, const std::string& name, const nlohmann::json& part,
              v1::ChatMessage& out) {
  if (!part.is_object()) return message.Fail(name, "an object", part);
  const auto type = part.find("type");
  if (type == part.end()) return message.Fail(name + ".type", R"("text")", nullptr);
  const auto* known = std::find_if(std::begin(kTextParts), std::end(kTextParts),
                                   [&](const TextPart& text) { return *type == text.type; });
  if (known == std::end(kTextParts)) return message.Fail(name + ".type", R"("text")", *type);
  const auto value = part.find(known->member);
  if (value == part.end() || !value->is_string()) {
    return message.Fail(absl::StrCat(name, ".", known->member), "a string",
                        value == part.end() ? nullptr : *value);
  }
  out.add_content_parts(value->get<std::string>());
}

// A string, or parts that are text. Nothing is an empty text, as with vLLM, or what the assistant
// refused with.
void ReadContent(JsonFields& message, v1::ChatMessage& out) {
  const auto refusal = message.String("refusal");
  const nlohmann::json* content = message.Find("content");
  if (content == nullptr) return out.set_content(refusal.value_or(""));
  if (content->is_string()) return out.set_content(content->get<std::string>());
  if (!content->is_array()) {
    return message.Fail("content", "a string or an array of text parts", *content);
  }
  for (size_t i = 0; i < content->size(); ++i) {
    ReadPart(message, absl::StrCat("content[", i, "]"), (*content)[i], out);
  }
}

// The elements of an array of objects, as text. The service checks what is in them.
template <typename Texts>
void ReadRawObjects(JsonFields& fields, absl::string_view text, const char* name, Texts& out) {
  const nlohmann::json* array = fields.Array(name);
  if (array == nullptr) return;
  for (size_t i = 0; i < array->size(); ++i) {
    if ((*array)[i].is_object()) continue;
    return fields.Fail(absl::StrCat(name, "[", i, "]"), "an object", (*array)[i]);
  }
  for (const absl::string_view element : RawElements(RawMember(text, name))) {
    out.Add(std::string(element));
  }
}

// The service checks the role.
void ReadMessage(JsonFields& message, absl::string_view text, v1::ChatMessage& out) {
  static constexpr const char* kUnsupportedInMessage[] = {"audio", nullptr};
  RefuseUnsupported(message, kUnsupportedInMessage);
  const auto role = message.String("role");
  if (!role) return message.Fail("role", "must be given");
  out.set_role(*role);
  if (auto name = message.String("name")) out.set_name(*name);
  if (auto id = message.String("tool_call_id")) out.set_tool_call_id(*id);
  for (const char* name : {"reasoning_content", "reasoning"}) {
    if (auto reasoning = message.String(name)) out.set_reasoning(*reasoning);
  }
  ReadRawObjects(message, text, "tool_calls", *out.mutable_tool_calls());
  ReadContent(message, out);
}

// `text` is what `messages` was parsed from, and `field` where it stands.
void ReadConversation(JsonFields& fields, const std::string& field, const nlohmann::json& messages,
                      absl::string_view text, v1::Chat& chat) {
  if (!messages.is_array() || messages.empty()) {
    return fields.Fail(field, "must be an array of at least one message");
  }
  const std::vector<absl::string_view> texts = RawElements(text);
  TIDAL_CHECK(texts.size() == messages.size());
  FunctionHistory history;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string name = absl::StrCat(field, "[", i, "]");
    if (!messages[i].is_object()) return fields.Fail(name, "an object", messages[i]);
    JsonFields message(messages[i], name + ".");
    v1::ChatMessage& out = *chat.add_messages();
    ReadMessage(message, texts[i], out);
    history.ReadMessage(message, i, out);
    fields.Adopt(message.status());
  }
}

void ReadMessages(JsonFields& fields, absl::string_view body, v1::Chat& chat) {
  const nlohmann::json* messages = fields.Array("messages");
  ReadConversation(fields, "messages", messages == nullptr ? nlohmann::json() : *messages,
                   RawMember(body, "messages"), chat);
}

// Each of the conversations into a copy of `call`, which has all else.
void ReadConversations(JsonFields& fields, absl::string_view body, const v1::GenerateRequest& call,
                       OpenAiRequest& request) {
  const nlohmann::json* chats = fields.Array("messages");
  if (chats == nullptr || chats->empty() || chats->size() > kMaxChats) {
    return fields.Fail("messages",
                       absl::StrCat("must be an array of 1 to ", kMaxChats, " conversations"));
  }
  const std::vector<absl::string_view> texts = RawElements(RawMember(body, "messages"));
  TIDAL_CHECK(texts.size() == chats->size());
  for (size_t i = 0; i < chats->size(); ++i) {
    request.calls.push_back(call);
    ReadConversation(fields, absl::StrCat("messages[", i, "]"), (*chats)[i], texts[i],
                     *request.calls.back().mutable_chat());
  }
  request.reply.num_calls = request.calls.size();
}

// Given to the template, as vLLM does, unless the client set them: each by its own name, and the
// effort as the switches that templates have for thinking at all.
void AddEffortAndVerbosity(const std::optional<std::string>& effort,
                           const std::optional<std::string>& verbosity, v1::Chat& chat) {
  nlohmann::ordered_json variables;
  if (verbosity) variables["verbosity"] = *verbosity;
  if (effort) {
    variables["reasoning_effort"] = *effort;
    for (const char* name : {"enable_thinking", "thinking"}) variables[name] = *effort != "none";
  }
  AddTemplateVariables(variables, chat);
}

// What of the reply comes in fields of its own.
void ReadParsing(JsonFields& fields, v1::GenerateRequest& call, ReplyOptions& reply) {
  v1::ReplyParsing& parsing = *call.mutable_output()->mutable_parsing();
  parsing.set_reasoning(true);
  reply.include_reasoning = fields.Bool("include_reasoning").value_or(true);
  if (auto budget = fields.Unsigned("thinking_token_budget")) {
    parsing.set_thinking_token_budget(*budget);
  }
  ReadToolChoice(fields, call, reply);
  ReadFunctionChoice(fields, call, reply);
}

// vLLM's: the last message's content comes before the reply's, where both are of one role. The
// reply is the assistant's, or goes on where no turn is begun for it.
void ReadEcho(JsonFields& fields, const v1::Chat& chat, ReplyOptions& reply) {
  if (!fields.Bool("echo").value_or(false) || chat.messages().empty()) return;
  const v1::ChatMessage& last = *chat.messages().rbegin();
  const bool begins_turn = !chat.has_add_generation_prompt() || chat.add_generation_prompt();
  if (begins_turn && last.role() != "assistant") return;
  reply.echo_text =
      last.content_parts().empty() ? last.content() : absl::StrJoin(last.content_parts(), "\n");
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
  ReadLogprobTokenIds(fields, *call.mutable_output());
  reply.top_has_sampled = !call.output().logprob_token_ids().empty();
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

// All of a chat but its messages.
void ReadChatOptions(JsonFields& fields, absl::string_view body, v1::Chat& chat) {
  ReadRawObjects(fields, body, "tools", *chat.mutable_tools());
  ReadFunctions(fields, body, chat);
  const auto effort = ReadEffort(fields, "reasoning_effort");
  const auto verbosity = ReadVerbosity(fields, "verbosity");
  ReadTemplateVariables(fields, body, effort, verbosity, chat);
  if (auto value = fields.Bool("add_generation_prompt")) chat.set_add_generation_prompt(*value);
  if (auto value = fields.Bool("continue_final_message")) {
    chat.set_continue_final_message(*value);
    // The default prompt for a new turn would contradict it.
    if (*value && !chat.has_add_generation_prompt()) chat.set_add_generation_prompt(false);
  }
}

// All of a request but its messages.
void ReadRequestOptions(JsonFields& fields, absl::string_view body, v1::GenerateRequest& call,
                        OpenAiRequest& request) {
  request.reply.api = OpenAiApi::kChat;
  RefuseUnsupported(fields, kUnsupportedInChats);
  RefuseModalities(fields);
  ReadSharedFields(fields, call, request);
  ReadLogprobs(fields, call, request.reply);
  ReadMaxTokens(fields, call, request.reply);
  ReadChatOptions(fields, body, *call.mutable_chat());
  ReadParsing(fields, call, request.reply);
  ReadStructuredOutput(fields, body, call, request.reply);
}

}  // namespace

void AddTemplateVariables(const nlohmann::ordered_json& defaults, v1::Chat& chat) {
  if (defaults.empty()) return;
  // Behind what the client wrote, as it wrote it.
  std::string& variables = *chat.mutable_chat_template_kwargs();
  if (variables.empty()) variables = "{}";
  const auto known = nlohmann::json::parse(variables);
  variables.pop_back();
  const char* separator = known.empty() ? "" : ",";
  for (const auto& [name, value] : defaults.items()) {
    if (known.contains(name)) continue;
    absl::StrAppend(&variables, std::exchange(separator, ","), "\"", name, "\":", value.dump());
  }
  variables += "}";
}

std::optional<std::string> ReadEffort(JsonFields& fields, const char* name) {
  auto effort = fields.String(name);
  if (!effort || std::find(kEfforts.begin(), kEfforts.end(), *effort) != kEfforts.end()) {
    return effort;
  }
  fields.Fail(name, R"("none", "minimal", "low", "medium", "high", "xhigh" or "max")", *effort);
  return std::nullopt;
}

std::optional<std::string> ReadVerbosity(JsonFields& fields, const char* name) {
  auto verbosity = fields.String(name);
  if (!verbosity || *verbosity == "low" || *verbosity == "medium" || *verbosity == "high") {
    return verbosity;
  }
  fields.Fail(name, R"("low", "medium" or "high")", *verbosity);
  return std::nullopt;
}

void ReadTemplateVariables(JsonFields& fields, absl::string_view body,
                           const std::optional<std::string>& effort,
                           const std::optional<std::string>& verbosity, v1::Chat& chat) {
  ReadRawObjects(fields, body, "documents", *chat.mutable_documents());
  if (fields.Object("chat_template_kwargs") != nullptr) {
    chat.set_chat_template_kwargs(std::string(RawMember(body, "chat_template_kwargs")));
  }
  AddEffortAndVerbosity(effort, verbosity, chat);
}

void ReadChat(JsonFields& fields, absl::string_view body, v1::Chat& chat) {
  ReadMessages(fields, body, chat);
  ReadChatOptions(fields, body, chat);
}

absl::StatusOr<OpenAiRequest> ParseChatRequest(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(body));
  JsonFields fields(json);
  OpenAiRequest request;
  v1::GenerateRequest call;
  ReadMessages(fields, body, *call.mutable_chat());
  ReadRequestOptions(fields, body, call, request);
  ReadEcho(fields, call.chat(), request.reply);
  TIDAL_RETURN_IF_ERROR(fields.status());
  request.calls.push_back(std::move(call));
  return request;
}

absl::StatusOr<OpenAiRequest> ParseChatBatchRequest(absl::string_view body) {
  TIDAL_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJsonObject(body));
  JsonFields fields(json);
  OpenAiRequest request;
  v1::GenerateRequest call;
  RefuseUnsupported(fields, kUnsupportedInChatBatches);
  ReadRequestOptions(fields, body, call, request);
  ReadConversations(fields, body, call, request);
  TIDAL_RETURN_IF_ERROR(fields.status());
  request.reply.several_chats = true;
  return request;
}

}  // namespace tidal
