// Functions, as OpenAI's clients knew tools first: in requests, in conversations, in replies.
#include "server/openai/function_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/openai/openai_error.h"
#include "server/openai/openai_reply.h"

namespace tidal {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kTwoFunctions[] =
    R"("functions": [{"name": "f", "z": 1.50, "a": 2}, {"name": "g"}])";

absl::StatusOr<OpenAiRequest> ParseFunctions(const std::string& fields) {
  return ParseChatRequest(
      absl::StrCat(R"({"messages": [{"role": "user", "content": "Hi"}], )", fields, "}"));
}

v1::ReplyParsing ChoiceOf(const std::string& choice) {
  const auto request = ParseFunctions(absl::StrCat(kTwoFunctions, choice));
  EXPECT_TRUE(request.ok()) << request.status();
  return request.ok() ? request->calls[0].output().parsing() : v1::ReplyParsing();
}

TEST(FunctionFields, AreTools) {
  const auto request = ParseFunctions(kTwoFunctions);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_THAT(request->calls[0].chat().tools(),
              ElementsAre(R"({"type": "function", "function": {"name": "f", "z": 1.50, "a": 2}})",
                          R"({"type": "function", "function": {"name": "g"}})"));
  EXPECT_TRUE(request->reply.function_calls);
  EXPECT_FALSE(ParseFunctions(R"("functions": [])")->reply.function_calls);
  EXPECT_FALSE(ParseFunctions(R"("function_call": "auto")")->reply.function_calls);
}

TEST(FunctionFields, TheChoice) {
  EXPECT_TRUE(ChoiceOf("").tool_calls());
  EXPECT_TRUE(ChoiceOf("").tool_choice().single()) << "a reply has one call";
  EXPECT_FALSE(ChoiceOf(R"(, "function_call": "auto")").tool_choice().required());
  EXPECT_FALSE(ChoiceOf(R"(, "function_call": "none")").tool_calls());
  const v1::ToolChoice named = ChoiceOf(R"(, "function_call": {"name": "g"})").tool_choice();
  EXPECT_TRUE(named.required());
  EXPECT_TRUE(named.single());
  EXPECT_THAT(named.names(), ElementsAre("g"));
}

TEST(FunctionFields, EarlierCallsAndTheirResults) {
  const auto request = ParseChatRequest(R"({"messages": [
      {"role": "user", "content": "Hi"},
      {"role": "assistant", "content": null,
       "function_call": {"name": "f", "arguments": "{\"z\": 1.50}"}},
      {"role": "function", "name": "f", "content": "4"},
      {"role": "assistant", "content": "", "function_call": {"name": "g", "arguments": ""}},
      {"role": "function", "name": "g", "content": null},
      {"role": "assistant", "content": "Four.", "function_call": null}]})");
  ASSERT_TRUE(request.ok()) << request.status();
  const auto& messages = request->calls[0].chat().messages();
  ASSERT_EQ(messages.size(), 6);
  ASSERT_EQ(messages[1].tool_calls_size(), 1);
  EXPECT_EQ(json::parse(messages[1].tool_calls(0)),
            json({{"id", "call00001"},
                  {"type", "function"},
                  {"function", {{"name", "f"}, {"arguments", R"({"z": 1.50})"}}}}));
  EXPECT_EQ(messages[2].role(), "tool");
  EXPECT_EQ(messages[2].name(), "f");
  EXPECT_EQ(messages[2].content(), "4");
  EXPECT_EQ(messages[2].tool_call_id(), "call00001");
  EXPECT_EQ(messages[4].tool_call_id(), "call00003");
  EXPECT_EQ(messages[5].tool_calls_size(), 0);
}

TEST(FunctionFields, BadFields) {
  const struct {
    std::string body;
    const char* message;  // how the answer starts
  } cases[] = {
      {R"("functions": {})", "functions: must be an array"},
      {R"("functions": ["f"])", "functions[0]: must be an object"},
      {R"("functions": [{}])", "functions[0].name: must be given"},
      {R"("functions": [{"name": 5}])", "functions[0].name: must be a string, got 5"},
      {R"("functions": [{"name": "f"}], "tools": [{"type": "function"}])",
       "functions: must be absent where tools are"},
      {R"("function_call": {"name": "f"})", "function_call: must be absent without functions"},
      {absl::StrCat(kTwoFunctions, R"(, "function_call": "maybe")"),
       R"(function_call: must be "none", "auto" or {"name": ...}, got "maybe")"},
      {absl::StrCat(kTwoFunctions, R"(, "function_call": {})"),
       "function_call.name: must be given"},
      {absl::StrCat(kTwoFunctions, R"(, "function_call": {"name": 5})"),
       "function_call.name: must be a string"},
  };
  for (const auto& [fields, message] : cases) {
    EXPECT_THAT(std::string(ParseFunctions(fields).status().message()), StartsWith(message))
        << fields;
  }
  const struct {
    const char *call, *message;
  } calls[] = {
      {R"("f")", "messages[0].function_call: must be an object"},
      {"{}", "messages[0].function_call.name: must be given"},
      {R"({"name": "f", "arguments": {}})",
       "messages[0].function_call.arguments: must be a string"},
      {R"({"name": "f", "arguments": "x"})",
       "messages[0].function_call.arguments: must be valid JSON"},
      {R"({"name": "f", "arguments": "{}\u0000"})",
       "messages[0].function_call.arguments: must be valid JSON"},
      {R"({"name": "f"}, "tool_calls": [{}])",
       "messages[0].function_call: must be absent where tool_calls are"},
  };
  for (const auto& [call, message] : calls) {
    const auto request = ParseChatRequest(
        absl::StrCat(R"({"messages": [{"role": "assistant", "function_call": )", call, "}]}"));
    EXPECT_THAT(std::string(request.status().message()), StartsWith(message)) << call;
  }
}

TEST(FunctionFields, TheServicesFaultsNameFunctions) {
  const auto request = ParseFunctions(kTwoFunctions);
  ASSERT_TRUE(request.ok());
  const auto param = [&](const std::string& field) {
    return ToApiError(absl::InvalidArgumentError(field + ": must be better"), request->reply).param;
  };
  EXPECT_EQ(param("chat.tools[0].function.name"), "functions[0].name");
  EXPECT_EQ(param("chat.tools"), "functions");
  EXPECT_EQ(param("output.parsing.tool_choice.names[0]"), "function_call");
  EXPECT_EQ(param("sampling.top_k"), "top_k");
}

v1::GenerateResponse CallPiece(const std::string& arguments, const std::string& name = "") {
  v1::GenerateResponse event;
  v1::ToolCallDelta& piece = *event.mutable_delta()->add_tool_calls();
  if (!name.empty()) piece.set_id("call_a");
  piece.set_name(name);
  piece.set_arguments(arguments);
  return event;
}

// Of a reply that is one call.
std::vector<v1::GenerateResponse> OneCall() {
  std::vector<v1::GenerateResponse> events(1);
  events[0].mutable_prompt()->set_model("m");
  events.push_back(CallPiece("", "f"));
  events.push_back(CallPiece("{\"a\""));
  events.back().mutable_delta()->add_tool_calls()->set_arguments(": 1}");
  events.emplace_back().mutable_finish()->set_reason(v1::FINISH_REASON_TOOL_CALLS);
  events.emplace_back().mutable_usage();
  return events;
}

std::string RenderCall(ApiReply& reply) {
  std::string out;
  for (const v1::GenerateResponse& event : OneCall())
    EXPECT_TRUE(reply.OnEvent(0, event, &out).ok());
  EXPECT_TRUE(reply.Finish(&out).ok());
  return out;
}

TEST(FunctionFields, AReplyHasAFunctionCall) {
  ReplyOptions options = {.api = OpenAiApi::kChat, .function_calls = true};
  CollectedReply reply(options, "x", 0);
  const json choice = json::parse(RenderCall(reply))["choices"][0];
  EXPECT_EQ(choice["message"],
            json({{"role", "assistant"},
                  {"content", nullptr},
                  {"refusal", nullptr},
                  {"reasoning", nullptr},
                  {"function_call", {{"name", "f"}, {"arguments", R"({"a": 1})"}}}}));
  EXPECT_EQ(choice["finish_reason"], "function_call");
  options.named_tool = true;
  CollectedReply named(options, "x", 0);
  EXPECT_EQ(json::parse(RenderCall(named))["choices"][0]["finish_reason"], "stop");
}

TEST(FunctionFields, AStreamHasItsPieces) {
  StreamedReply reply({.api = OpenAiApi::kChat, .stream = true, .function_calls = true}, "x", 0);
  const std::string out = RenderCall(reply);
  EXPECT_THAT(out, HasSubstr(R"("delta":{"function_call":{"arguments":"","name":"f"}})"));
  EXPECT_THAT(out, HasSubstr(R"("delta":{"function_call":{"arguments":"{\"a\": 1}"}})"));
  EXPECT_THAT(out, HasSubstr(R"("finish_reason":"function_call")"));
  EXPECT_THAT(out, ::testing::Not(HasSubstr("tool_calls")));
}

TEST(ServiceTier, IsNamedWhereItWasAskedFor) {
  CollectedReply asked({.api = OpenAiApi::kChat, .service_tier = true}, "x", 0);
  EXPECT_EQ(json::parse(RenderCall(asked))["service_tier"], "default");
  CollectedReply not_asked({.api = OpenAiApi::kChat}, "x", 0);
  EXPECT_FALSE(json::parse(RenderCall(not_asked)).contains("service_tier"));
  StreamedReply streamed({.api = OpenAiApi::kChat, .stream = true, .service_tier = true}, "x", 0);
  EXPECT_THAT(RenderCall(streamed), HasSubstr(R"("service_tier":"default")"));
}

}  // namespace
}  // namespace tidal
