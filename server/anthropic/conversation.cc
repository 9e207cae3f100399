#include "server/anthropic/conversation.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/check.h"
#include "engine/json/json_value.h"
#include "nlohmann/json.hpp"
#include "server/openai/raw_json.h"

namespace tidal {
namespace {

using Texts = std::vector<std::string>;

// Claude Code begins its system prompt with a line that is another one in each request, so that no
// two prompts would have a prefix in common.
constexpr absl::string_view kBillingPrefix = "x-anthropic-billing-header:";

constexpr absl::string_view kErrorPrefix = "Error: ";

void RemoveBillingLine(std::string* text) {
  if (!absl::StartsWith(*text, kBillingPrefix)) return;
  const size_t end = text->find('\n');
  text->erase(0, end == std::string::npos ? end : end + 1);
}

// The type of a block, which is one of `known`; empty where it is not, and `owner` has failed.
std::string TypeOf(JsonFields& owner, const std::string& name, const nlohmann::json& block,
                   std::initializer_list<const char*> known) {
  if (!block.is_object()) {
    owner.Fail(name, "an object", block);
    return "";
  }
  const nlohmann::json* type = FindMember(block, "type");
  if (type == nullptr || !type->is_string()) {
    owner.Fail(name + ".type", "a string", type == nullptr ? nullptr : *type);
    return "";
  }
  for (const char* one : known) {
    if (*type == one) return one;
  }
  owner.Fail(name, absl::StrCat("must be a block of type ", absl::StrJoin(known, ", "),
                                ", got one of type ", QuoteJson(*type),
                                ", which this server does not support here"));
  return "";
}

// The string `member` of a block.
std::string StringOf(JsonFields& owner, const std::string& name, const nlohmann::json& block,
                     const char* member) {
  const nlohmann::json* value = FindMember(block, member);
  if (value != nullptr && value->is_string()) return value->get<std::string>();
  owner.Fail(absl::StrCat(name, ".", member), "a string", value == nullptr ? nullptr : *value);
  return "";
}

std::string PartName(const char* field, size_t index) {
  return absl::StrCat(field, "[", index, "]");
}

// "system", or the content of a system message: a string, or blocks of text.
Texts ReadSystemTexts(JsonFields& owner, const char* field) {
  Texts texts;
  const nlohmann::json* value = owner.Find(field);
  if (value == nullptr) return texts;
  if (value->is_string()) {
    texts.push_back(value->get<std::string>());
  } else if (value->is_array()) {
    for (size_t i = 0; i < value->size(); ++i) {
      const std::string name = PartName(field, i);
      if (TypeOf(owner, name, (*value)[i], {"text"}).empty()) break;
      texts.push_back(StringOf(owner, name, (*value)[i], "text"));
    }
  } else {
    owner.Fail(field, "a string or an array of text blocks", *value);
  }
  for (std::string& text : texts) RemoveBillingLine(&text);
  texts.erase(std::remove(texts.begin(), texts.end(), ""), texts.end());
  return texts;
}

// The last message, where it is a turn of that role; else a new one.
v1::ChatMessage& Turn(const char* role, v1::Chat& chat) {
  if (!chat.messages().empty()) {
    v1::ChatMessage& last = *chat.mutable_messages(chat.messages_size() - 1);
    if (last.role() == role) return last;
  }
  v1::ChatMessage& message = *chat.add_messages();
  message.set_role(role);
  return message;
}

void AddTexts(const char* role, const Texts& texts, v1::Chat& chat) {
  v1::ChatMessage& turn = Turn(role, chat);
  for (const std::string& text : texts) turn.add_content_parts(text);
}

// The content of a tool's result: a string, or parts.
Texts ReadResultTexts(JsonFields& message, const std::string& name, const nlohmann::json& block) {
  const nlohmann::json* content = FindMember(block, "content");
  if (content == nullptr) return {""};
  if (content->is_string()) return {content->get<std::string>()};
  const std::string field = name + ".content";
  if (!content->is_array()) {
    message.Fail(field, "a string or an array of blocks", *content);
    return {};
  }
  Texts texts;
  for (size_t i = 0; i < content->size(); ++i) {
    const std::string part = PartName(field.c_str(), i);
    const std::string type = TypeOf(message, part, (*content)[i], {"text", "tool_reference"});
    if (type.empty()) return {};
    const char* member = type == "text" ? "text" : "tool_name";
    texts.push_back(StringOf(message, part, (*content)[i], member));
  }
  if (texts.empty()) texts.push_back("");
  return texts;
}

void ReadToolResult(JsonFields& message, const std::string& name, const nlohmann::json& block,
                    v1::Chat& chat) {
  v1::ChatMessage& result = *chat.add_messages();
  result.set_role("tool");
  result.set_tool_call_id(StringOf(message, name, block, "tool_use_id"));
  Texts texts = ReadResultTexts(message, name, block);
  const nlohmann::json* is_error = FindMember(block, "is_error");
  if (is_error != nullptr && !is_error->is_boolean()) {
    message.Fail(name + ".is_error", "true or false", *is_error);
  }
  // Templates have no place for it but the text.
  if (is_error != nullptr && *is_error == true && !texts.empty() &&
      !absl::StartsWithIgnoreCase(texts[0], "error")) {
    texts[0].insert(0, kErrorPrefix.data(), kErrorPrefix.size());
  }
  for (std::string& text : texts) result.add_content_parts(std::move(text));
}

void ReadUserBlocks(JsonFields& message, const nlohmann::json& blocks, v1::Chat& chat) {
  Texts texts;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string name = PartName("content", i);
    const std::string type = TypeOf(message, name, blocks[i], {"text", "tool_result"});
    if (type.empty()) return;
    if (type == "tool_result") {
      ReadToolResult(message, name, blocks[i], chat);
    } else {
      texts.push_back(StringOf(message, name, blocks[i], "text"));
    }
  }
  if (!texts.empty()) return AddTexts("user", texts, chat);
  if (blocks.empty()) AddTexts("user", {""}, chat);
}

// `text`: of the block, as the client wrote it; templates print the input.
void ReadToolUse(JsonFields& message, const std::string& name, const nlohmann::json& block,
                 absl::string_view text, v1::ChatMessage& turn) {
  const nlohmann::json* input = FindMember(block, "input");
  if (input != nullptr && !input->is_object()) {
    return message.Fail(name + ".input", "an object", *input);
  }
  std::string arguments = "{}";
  if (input != nullptr) arguments = std::string(RawMember(text, "input"));
  const nlohmann::ordered_json call = {
      {"id", StringOf(message, name, block, "id")},
      {"type", "function"},
      {"function", {{"name", StringOf(message, name, block, "name")}, {"arguments", arguments}}}};
  turn.add_tool_calls(call.dump());
}

void ReadAssistantBlocks(JsonFields& message, const nlohmann::json& blocks, absl::string_view text,
                         v1::Chat& chat) {
  v1::ChatMessage& turn = Turn("assistant", chat);
  const std::vector<absl::string_view> raw_blocks = RawElements(RawMember(text, "content"));
  TIDAL_CHECK(raw_blocks.size() == blocks.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string name = PartName("content", i);
    const std::string type =
        TypeOf(message, name, blocks[i], {"text", "thinking", "redacted_thinking", "tool_use"});
    if (type.empty()) return;
    if (type == "text") {
      turn.add_content_parts(StringOf(message, name, blocks[i], "text"));
    } else if (type == "tool_use") {
      ReadToolUse(message, name, blocks[i], raw_blocks[i], turn);
    } else if (type == "thinking") {
      if (!turn.reasoning().empty()) turn.mutable_reasoning()->append("\n");
      turn.mutable_reasoning()->append(StringOf(message, name, blocks[i], "thinking"));
    }
  }
}

void ReadSystemMessage(JsonFields& message, v1::Chat& chat) {
  const Texts texts = ReadSystemTexts(message, "content");
  const int count = chat.messages_size();
  const bool leads = count == 0 || (count == 1 && chat.messages(0).role() == "system");
  if (!texts.empty()) AddTexts(leads ? "system" : "user", texts, chat);
}

// `text`: of the message, as the client wrote it.
void ReadMessage(JsonFields& message, absl::string_view text, v1::Chat& chat) {
  const auto role = message.String("role");
  const nlohmann::json* content = message.Find("content");
  if (!role) return message.Fail("role", "must be given");
  if (content == nullptr) return message.Fail("content", "must be given");
  if (*role == "system") return ReadSystemMessage(message, chat);
  const bool user = *role == "user";
  if (!user && *role != "assistant") {
    return message.Fail("role", R"("user", "assistant" or "system")", *role);
  }
  if (content->is_string()) {
    return AddTexts(user ? "user" : "assistant", {content->get<std::string>()}, chat);
  }
  if (!content->is_array()) {
    return message.Fail("content", "a string or an array of blocks", *content);
  }
  if (user) return ReadUserBlocks(message, *content, chat);
  ReadAssistantBlocks(message, *content, text, chat);
}

// A last turn of the assistant is what the answer begins with.
void ContinueLastTurn(v1::Chat& chat) {
  if (chat.messages().empty()) return;
  const v1::ChatMessage& last = *chat.messages().rbegin();
  if (last.role() != "assistant" || !last.tool_calls().empty()) return;
  if (absl::StrJoin(last.content_parts(), "").empty()) return;
  chat.set_continue_final_message(true);
  chat.set_add_generation_prompt(false);
}

}  // namespace

void ReadConversation(JsonFields& fields, absl::string_view body, v1::Chat& chat) {
  const Texts system = ReadSystemTexts(fields, "system");
  if (!system.empty()) AddTexts("system", system, chat);
  const nlohmann::json* messages = fields.Array("messages");
  if (messages == nullptr || messages->empty()) {
    return fields.Fail("messages", "must be an array of at least one message");
  }
  const std::vector<absl::string_view> texts = RawElements(RawMember(body, "messages"));
  TIDAL_CHECK(texts.size() == messages->size());
  for (size_t i = 0; i < messages->size(); ++i) {
    const std::string name = PartName("messages", i);
    if (!(*messages)[i].is_object()) return fields.Fail(name, "an object", (*messages)[i]);
    JsonFields message((*messages)[i], name + ".");
    ReadMessage(message, texts[i], chat);
    fields.Adopt(message.status());
  }
  ContinueLastTurn(chat);
}

}  // namespace tidal
