#include "server/generation/chat_prompt.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace tidal {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kPrintAll[] =
    "{% for m in messages %}{{ m | tojson }}\n{% endfor %}"
    "{{ tools | tojson }}{{ documents | tojson }}{{ size }}{% if add_generation_prompt %}>{% endif "
    "%}";

v1::Chat Chat(const std::string& text) {
  v1::Chat chat;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &chat)) << text;
  return chat;
}

absl::StatusOr<std::string> Render(const std::string& chat, const char* source = kPrintAll) {
  const auto compiled = ChatTemplate::Compile(source, "<s>", "</s>");
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  auto prompt = RenderChat(Chat(chat), compiled->get(), /*escape=*/nullptr);
  if (!prompt.ok()) return prompt.status();
  return std::move(prompt->text);
}

std::string Refusal(const std::string& chat, const char* source = kPrintAll) {
  const absl::Status status = Render(chat, source).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

TEST(ChatPromptTest, EverythingReachesTheTemplate) {
  EXPECT_EQ(*Render(R"pb(
    messages { role: "user" name: "Ann" content_parts: "a" content_parts: "b" }
    messages {
      role: "assistant"
      reasoning: "hm"
      tool_calls: '{"type": "function", "id": "c1", "more": 1, "function": {"arguments": "{\\"z\\": 1, \\"a\\": [2.0]}", "name": "f"}}'
    }
    messages { role: "tool" tool_call_id: "c1" content: "4" }
    tools: '{"type": "function", "function": {"name": "f", "z": 1, "a": 2}}'
    documents: '{"title": "t"}'
    chat_template_kwargs: '{"size": 3}')pb"),
            "{\"role\": \"user\", \"content\": \"a\\nb\", \"name\": \"Ann\"}\n"
            "{\"role\": \"assistant\", \"content\": \"\", \"reasoning\": \"hm\", "
            "\"reasoning_content\": \"hm\", \"thinking\": \"hm\", \"tool_calls\": "
            "[{\"type\": \"function\", \"id\": \"c1\", \"more\": 1, \"function\": "
            "{\"arguments\": {\"z\": 1, \"a\": [2.0]}, \"name\": \"f\"}}]}\n"
            "{\"role\": \"tool\", \"content\": \"4\", \"tool_call_id\": \"c1\"}\n"
            "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"z\": 1, \"a\": 2}}]"
            "[{\"title\": \"t\"}]3>");
}

TEST(ChatPromptTest, ArgumentsAreWhatTheirStringSays) {
  const auto arguments = [](const std::string& given) {
    return *Render("messages { role: 'assistant' tool_calls: '{\"function\": {\"name\": \"f\"" +
                       given + "}}' }",
                   "{{ messages[0].tool_calls[0].function.arguments | tojson }}");
  };
  EXPECT_EQ(arguments(""), "{}");
  EXPECT_EQ(arguments(R"(, "arguments": null)"), "{}");
  EXPECT_EQ(arguments(R"(, "arguments": "")"), "{}");
  EXPECT_EQ(arguments(R"(, "arguments": {"a": "1"})"), R"({"a": "1"})");
  EXPECT_EQ(arguments(R"(, "arguments": "[1]")"), "[1]");
}

TEST(ChatPromptTest, GenerationPromptUnlessContinued) {
  constexpr char kTurn[] = "messages { role: 'user' content: 'a' }";
  constexpr char kSource[] = "{{ messages[0].content }}.{% if add_generation_prompt %}>{% endif %}";
  EXPECT_EQ(*Render(kTurn, kSource), "a.>");
  EXPECT_EQ(*Render(std::string(kTurn) + "add_generation_prompt: false", kSource), "a.");
  EXPECT_EQ(*Render(std::string(kTurn) + "continue_final_message: true", kSource), "a");
}

TEST(ChatPromptTest, RefusalsNameTheField) {
  const std::string turn = "messages { role: 'user' content: 'a' } ";
  const auto call = [](const std::string& json) {
    return "messages { role: 'user' } messages { role: 'assistant' tool_calls: '" + json + "' }";
  };
  const std::pair<std::string, const char*> cases[] = {
      {"", "chat.messages: must have at least 1 message, got 0"},
      {"messages { content: 'a' }",
       "chat.messages[0].role: must be a role of at most 64 letters, digits, _, - and ., got "
       "nothing"},
      {"messages { role: 'a b' content: 'a' }",
       "chat.messages[0].role: must be a role of at most 64 letters, digits, _, - and ., got \"a "
       "b\""},
      {"messages { role: '" + std::string(65, 'a') + "' }",
       "chat.messages[0].role: must be a role"},
      {"messages { role: 'user' content: 'a' content_parts: 'b' }",
       "chat.messages[0].content_parts: must be empty where there is content, got 1"},
      {turn + "continue_final_message: true add_generation_prompt: true",
       "chat.add_generation_prompt: must be false"},
      {call("{"), "chat.messages[1].tool_calls[0]: must be valid JSON in UTF-8, got an error"},
      {call("[]"), "chat.messages[1].tool_calls[0]: must be a JSON object, got list"},
      {call("{}"), "chat.messages[1].tool_calls[0].function: must be an object, got nothing"},
      {call(R"({"function": 1})"),
       "chat.messages[1].tool_calls[0].function: must be an object, got int"},
      {call(R"({"function": {}})"),
       "chat.messages[1].tool_calls[0].function.name: must be a string, got nothing"},
      {call(R"({"function": {"name": 5}})"),
       "chat.messages[1].tool_calls[0].function.name: must be a string, got int"},
      {call(R"({"function": {"name": "f", "arguments": "{a"}})"),
       "chat.messages[1].tool_calls[0].function.arguments: must be valid JSON in UTF-8"},
      {turn + "tools: '5'", "chat.tools[0]: must be a JSON object, got int"},
      {turn + "tools: '{}'", "chat.tools[0].type: must be \"function\", got nothing"},
      {turn + "tools: '{\"type\": \"custom\"}'",
       "chat.tools[0].type: must be \"function\", got \"custom\""},
      {turn + "tools: '{\"type\": \"function\"}'",
       "chat.tools[0].function: must be an object, got nothing"},
      {turn + "documents: '{}' documents: 'x'", "chat.documents[1]: must be valid JSON"},
      {turn + "chat_template_kwargs: '[]'",
       "chat.chat_template_kwargs: must be a JSON object, got list"},
      {turn + "chat_template_kwargs: '{\"a\": 1, \"messages\": []}'",
       "chat.chat_template_kwargs.messages: must be absent"},
      {turn + "chat_template_kwargs: '{\"a\": 99999999999999999999}'",
       "chat.chat_template_kwargs: must have integers of at most 64 bits"},
  };
  for (const auto& [chat, message] : cases) EXPECT_THAT(Refusal(chat), StartsWith(message)) << chat;
  EXPECT_EQ(Refusal(turn + "continue_final_message: true", "nothing"),
            "chat.continue_final_message: must be false, the chat template drops the last message");
  EXPECT_EQ(Refusal(turn, "{{ raise_exception('Roles must alternate: ' ~ 1) }}"),
            "chat: Roles must alternate: 1");
  EXPECT_THAT(Refusal(turn, "{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}"),
              StartsWith("chat: line 1, column "));
  EXPECT_THAT(std::string(RenderChat(Chat(turn), nullptr, nullptr).status().message()),
              HasSubstr("no chat template"));
}

}  // namespace
}  // namespace tidal
