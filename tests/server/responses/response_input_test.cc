// What items become: turns of a chat.
#include "server/responses/response_input.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/responses/responses_request.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

absl::StatusOr<ResponsesRequest> ParseInput(const std::string& input,
                                            const std::string& more = "") {
  return ParseResponsesRequest(absl::StrCat("{\"input\": ", input, more, "}"));
}

// The turns, as text, so that a difference is readable.
std::string Turns(const std::string& input, const std::string& more = "") {
  const auto request = ParseInput(input, more);
  if (!request.ok()) return std::string(request.status().message());
  v1::Chat chat;
  *chat.mutable_messages() = request->call.chat().messages();
  return chat.Utf8DebugString();
}

std::string ChatText(const std::string& text) {
  v1::Chat chat;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &chat)) << text;
  return chat.Utf8DebugString();
}

std::string LeftOutOf(const std::string& input) {
  const auto request = ParseInput(input);
  return request.ok() ? request->left_out.Header() : std::string(request.status().message());
}

TEST(ResponseInput, AString) {
  EXPECT_EQ(Turns(R"("Hi")"), ChatText(R"(messages { role: "user" content: "Hi" })"));
}

TEST(ResponseInput, InstructionsSystemAndDevelopersAreOneTurnOfTheSystem) {
  EXPECT_EQ(Turns(R"([{"role": "developer", "content": "Be quick."},
                      {"role": "user", "content": "Hi"},
                      {"type": "message", "role": "system",
                       "content": [{"type": "input_text", "text": "a"},
                                   {"type": "input_text", "text": "b"}]},
                      {"role": "developer", "content": ""}])",
                  R"(, "instructions": "Be kind.")"),
            ChatText(R"(messages { role: "system" content: "Be kind.\n\nBe quick.\n\na\nb" }
                    messages { role: "user" content_parts: "Hi" })"));
}

TEST(ResponseInput, ItemsOfTheAssistantAreOneTurn) {
  EXPECT_EQ(Turns(R"([
      {"role": "user", "content": [{"type": "input_text", "text": "a"},
                                   {"type": "text", "text": "b"}]},
      {"type": "reasoning", "id": "rs_1", "summary": [],
       "content": [{"type": "reasoning_text", "text": "Hm."}], "encrypted_content": null},
      {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
       "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}]},
      {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f",
       "arguments": "{\"x\": 1}", "status": "completed"},
      {"type": "message", "role": "assistant", "content": "Wait."},
      {"type": "function_call", "call_id": "c2", "name": "g", "namespace": "mcp__s",
       "arguments": ""},
      {"type": "function_call_output", "call_id": "c1", "output": "one"},
      {"type": "function_call_output", "call_id": "c2",
       "output": [{"type": "input_text", "text": "t"}, {"type": "output_text", "text": "wo"}]},
      {"type": "message", "role": "assistant",
       "content": [{"type": "refusal", "refusal": "No."}]}])"),
            ChatText(R"(
      messages { role: "user" content_parts: "a" content_parts: "b" }
      messages { role: "assistant" reasoning: "Hm." content_parts: "Let me see."
        content_parts: "Wait."
        tool_calls: '{"id":"c1","type":"function","function":{"name":"f","arguments":"{\\"x\\": 1}"}}'
        tool_calls: '{"id":"c2","type":"function","function":{"name":"mcp__s__g","arguments":""}}' }
      messages { role: "tool" tool_call_id: "c1" content_parts: "one" }
      messages { role: "tool" tool_call_id: "c2" content_parts: "t" content_parts: "wo" }
      messages { role: "assistant" content_parts: "No." })"));
}

TEST(ResponseInput, CallsOfCustomToolsAreCallsOfTheirFunctions) {
  EXPECT_EQ(Turns(R"([
      {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c1", "name": "apply_patch",
       "input": "a\n\"b\""},
      {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done"}])"),
            ChatText(R"(
      messages { role: "assistant" tool_calls: '{"id":"c1","type":"function","function":'
        '{"name":"apply_patch","arguments":{"input":"a\\n\\"b\\""}}}' }
      messages { role: "tool" tool_call_id: "c1" content_parts: "Done" })"));
}

TEST(ResponseInput, CallsThatTheModelGotWrongGoBackAsTheyWere) {
  for (const char* arguments : {"{\"x", "[1]", "null", "two words"}) {
    const nlohmann::json item = {
        {"type", "function_call"}, {"call_id", "c"}, {"name", "f"}, {"arguments", arguments}};
    const auto request = ParseInput(nlohmann::json::array({item}).dump());
    ASSERT_TRUE(request.ok()) << request.status();
    const auto call = nlohmann::json::parse(request->call.chat().messages(0).tool_calls(0));
    EXPECT_EQ(call["function"]["arguments"], nlohmann::json({{"arguments", arguments}}));
  }
}

TEST(ResponseInput, ASummaryOnlyWhereThereIsNoMore) {
  EXPECT_EQ(Turns(R"([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "S"}],
                       "content": null},
                      {"type": "reasoning", "summary": [{"type": "summary_text", "text": "T"}],
                       "content": [{"type": "reasoning_text", "text": "All"}]}])"),
            ChatText(R"(messages { role: "assistant" reasoning: "S\nAll" })"));
}

TEST(ResponseInput, WhatIsNotForAChatIsLeftOutAndNamed) {
  const std::string input = R"([{"role": "user", "content": "Hi"},
      {"type": "web_search_call", "id": "ws_1", "status": "completed"},
      {"type": "agent_message", "author": "x", "content": []},
      {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
      {"type": "local_shell_call\r\nX: y", "call_id": "c"},
      {"role": "user", "content": [{"type": "encrypted_content", "encrypted_content": "x"}]}])";
  EXPECT_EQ(Turns(input), ChatText(R"(messages { role: "user" content_parts: "Hi" }
                                  messages { role: "user" })"));
  EXPECT_EQ(LeftOutOf(input),
            "input[1] (web_search_call), input[2] (agent_message), input[3] (encrypted_content), "
            "input[4] (local_shell_call??X??y), input[5].content[0] (encrypted_content)");
}

TEST(ResponseInput, TheHeaderHasABound) {
  std::string items = R"({"role": "user", "content": "Hi"})";
  for (int i = 0; i < 100; ++i) {
    absl::StrAppend(&items, ",{\"type\": \"", std::string(1000, 'x'), "\"}");
  }
  const std::string header = LeftOutOf(absl::StrCat("[", items, "]"));
  EXPECT_LT(header.size(), 1200);
  EXPECT_THAT(header, HasSubstr(" and 84 more"));
}

TEST(ResponseInput, ToolsThatAnItemBrings) {
  const auto request = ParseInput(R"([{"type": "additional_tools", "role": "developer",
      "tools": [{"type": "function", "name": "f"}]}, {"role": "user", "content": "Hi"}])");
  ASSERT_TRUE(request.ok()) << request.status();
  ASSERT_EQ(request->call.chat().tools_size(), 1);
  EXPECT_EQ(request->call.chat().tools(0), R"({"type": "function", "function": {"name": "f"}})");
  EXPECT_TRUE(request->call.output().parsing().tool_calls());
}

struct BadInput {
  const char *input, *message;
};

constexpr BadInput kBadInputs[] = {
    {"null", "input: must be given"},
    {"5", "input: must be a string or an array of items, got 5"},
    {"[]", "input: must have an item"},
    {"[5]", "input[0]: must be an object, got 5"},
    {R"([{"type": 5}])", "input[0].type: must be a string, got 5"},
    {R"([{"id": "msg_1"}])", R"(input[0].type: must not be "item_reference")"},
    {R"([{"type": "item_reference", "id": "x"}])",
     R"(input[0].type: must not be "item_reference")"},
    {R"([{"role": "tool", "content": "x"}])", R"(input[0].role: must be "user", "assistant", )"},
    {R"([{"role": "user"}])", "input[0].content: must be given"},
    {R"([{"role": "user", "content": 5}])", "input[0].content: must be a string or an array"},
    {R"([{"role": "user", "content": [5]}])", "input[0].content[0]: must be an object, got 5"},
    {R"([{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}])",
     R"(input[0].content[0].type: must be a part that is text: )"},
    {R"([{"role": "user", "content": [{"type": "input_text"}]}])",
     "input[0].content[0].text: must be given"},
    {R"([{"type": "function_call", "name": "f", "arguments": "{}"}])",
     "input[0].call_id: must be given"},
    {R"([{"type": "function_call", "call_id": "c", "arguments": "{}"}])",
     "input[0].name: must be given"},
    {R"([{"type": "function_call", "call_id": "c", "name": "f"}])",
     "input[0].arguments: must be given"},
    {R"([{"type": "custom_tool_call", "call_id": "c", "name": "f"}])",
     "input[0].input: must be given"},
    {R"([{"type": "function_call_output", "output": "x"}])", "input[0].call_id: must be given"},
    {R"([{"type": "function_call_output", "call_id": "c"}])", "input[0].output: must be given"},
    {R"([{"type": "additional_tools", "tools": [{"type": "function"}]}])",
     "input[0].tools[0].name: must be given"},
};

TEST(ResponseInput, FaultsNameTheField) {
  for (const BadInput& bad : kBadInputs) {
    const auto request = ParseInput(bad.input);
    EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument) << bad.input;
    EXPECT_THAT(std::string(request.status().message()), StartsWith(bad.message)) << bad.input;
  }
}

}  // namespace
}  // namespace tidal
