// Messages requests as calls of the service: all but their conversations.
#include "server/anthropic/messages_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/anthropic/messages_api.h"

namespace tidal {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kTools[] = R"(, "tools": [
    {"name": "get_weather", "description": "Of a \"city\".", "cache_control": {"type": "ephemeral"},
     "input_schema": {"type": "object", "properties": {"z": {"type": "string"}, "a": {}}}},
    {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
    {"type": "custom", "name": "now", "strict": true, "input_schema": {}}])";

// `more`: further members, with a comma before each; they take the place of those before them.
std::string Body(const std::string& more) {
  return absl::StrCat(
      R"({"model": "m", "max_tokens": 2000, "messages": [{"role": "user", "content": "Hi"}])", more,
      "}");
}

MessagesRequest Parse(const std::string& more) {
  auto request = ParseMessagesRequest(Body(more));
  EXPECT_TRUE(request.ok()) << request.status();
  return request.ok() ? *std::move(request) : MessagesRequest();
}

std::string Refusal(const std::string& more) {
  const auto request = ParseMessagesRequest(Body(more));
  EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument) << more;
  return std::string(request.status().message());
}

TEST(MessagesRequest, Plain) {
  const MessagesRequest request = Parse("");
  EXPECT_EQ(request.call.model(), "m");
  EXPECT_EQ(request.call.n(), 1u);
  EXPECT_EQ(request.call.stopping().max_tokens(), 2000u);
  EXPECT_TRUE(request.call.stopping().fit_max_tokens())
      << "clients ask for what their own model could give";
  EXPECT_FALSE(request.call.has_sampling() && request.call.sampling().has_temperature());
  EXPECT_TRUE(request.call.output().final_only());
  EXPECT_TRUE(request.call.output().parsing().reasoning());
  EXPECT_FALSE(request.call.output().parsing().tool_calls());
  EXPECT_FALSE(request.call.has_structured_output());
  EXPECT_EQ(request.call.chat().chat_template_kwargs(), "");
  EXPECT_FALSE(request.reply.stream);
  EXPECT_EQ(request.reply.max_tokens, 2000u);
  EXPECT_TRUE(request.left_out.empty());
}

TEST(MessagesRequest, SamplingStoppingAndStreaming) {
  const MessagesRequest request = Parse(R"(, "temperature": 1.0, "top_p": 0.9, "top_k": 40,
      "stop_sequences": ["\n\nHuman:", "END"], "stream": true, "priority": 3, "cache_salt": "s",
      "attention": {"mode": "tidal", "budget": 64})");
  EXPECT_EQ(request.call.sampling().temperature(), 1);
  EXPECT_FLOAT_EQ(request.call.sampling().top_p(), 0.9F);
  EXPECT_EQ(request.call.sampling().top_k(), 40);
  EXPECT_THAT(request.call.stopping().stop(), ElementsAre("\n\nHuman:", "END"));
  EXPECT_TRUE(request.reply.stream);
  EXPECT_FALSE(request.call.output().final_only());
  EXPECT_EQ(request.call.priority(), 3);
  EXPECT_EQ(request.call.cache_salt(), "s");
  EXPECT_EQ(request.call.attention().budget(), 64u);
}

TEST(MessagesRequest, ToolsInOpenAisForm) {
  const MessagesRequest request = Parse(kTools);
  const v1::Chat& chat = request.call.chat();
  ASSERT_EQ(chat.tools_size(), 2);
  EXPECT_EQ(
      chat.tools(0),
      R"({"type":"function","function":{"name":"get_weather","description":"Of a \"city\".",)"
      R"("parameters":{"type": "object", "properties": {"z": {"type": "string"}, "a": {}}}}})")
      << "the schema as it was written: templates print it";
  EXPECT_EQ(chat.tools(1), R"({"type":"function","function":{"name":"now","parameters":{},)"
                           R"("strict":true}})");
  EXPECT_TRUE(request.call.output().parsing().tool_calls());
  EXPECT_FALSE(request.call.output().parsing().has_tool_choice());
  EXPECT_EQ(request.left_out.Header(), "tools[1] (web_search_20250305)");
  const auto api = ReadMessages(Body(kTools));
  ASSERT_TRUE(api.ok());
  EXPECT_THAT(api->headers,
              ElementsAre(std::pair("X-Tidal-Left-Out", "tools[1] (web_search_20250305)")));
  EXPECT_TRUE(ReadMessages(Body(""))->headers.empty());
}

TEST(MessagesRequest, ToolChoice) {
  const auto parsing = [](const std::string& choice) {
    return Parse(absl::StrCat(kTools, R"(, "tool_choice": )", choice)).call.output().parsing();
  };
  const v1::ReplyParsing automatic = parsing(R"({"type": "auto"})");
  EXPECT_TRUE(automatic.tool_calls());
  EXPECT_FALSE(automatic.tool_choice().required());
  EXPECT_FALSE(automatic.tool_choice().single());
  const v1::ReplyParsing any = parsing(R"({"type": "any", "disable_parallel_tool_use": true})");
  EXPECT_TRUE(any.tool_choice().required());
  EXPECT_TRUE(any.tool_choice().single());
  EXPECT_TRUE(any.tool_choice().names().empty());
  const v1::ReplyParsing named = parsing(R"({"type": "tool", "name": "now"})");
  EXPECT_TRUE(named.tool_choice().required());
  EXPECT_FALSE(named.tool_choice().single());
  EXPECT_THAT(named.tool_choice().names(), ElementsAre("now"));
  const v1::ReplyParsing none = parsing(R"({"type": "none"})");
  EXPECT_FALSE(none.tool_calls());
  EXPECT_FALSE(none.has_tool_choice());
}

TEST(MessagesRequest, Thinking) {
  const auto kwargs = [](const MessagesRequest& request) {
    return json::parse(request.call.chat().chat_template_kwargs());
  };
  const json on = {{"enable_thinking", true}, {"thinking", true}};
  const json off = {{"enable_thinking", false}, {"thinking", false}};
  const MessagesRequest enabled =
      Parse(R"(, "thinking": {"type": "enabled", "budget_tokens": 1024})");
  EXPECT_EQ(kwargs(enabled), on);
  EXPECT_EQ(enabled.call.output().parsing().thinking_token_budget(), 1024u);
  EXPECT_TRUE(enabled.call.output().parsing().fit_thinking_token_budget());
  EXPECT_TRUE(enabled.reply.show_thinking);
  const MessagesRequest adaptive =
      Parse(R"(, "thinking": {"type": "adaptive", "display": "omitted"})");
  EXPECT_EQ(kwargs(adaptive), on);
  EXPECT_FALSE(adaptive.call.output().parsing().has_thinking_token_budget());
  EXPECT_FALSE(adaptive.reply.show_thinking);
  EXPECT_EQ(kwargs(Parse(R"(, "thinking": {"type": "between_tools"})")), on);
  EXPECT_EQ(kwargs(Parse(R"(, "thinking": {"type": "disabled"})")), off);
  EXPECT_EQ(kwargs(Parse(R"(, "thinking": {"type": "disabled"},
                             "chat_template_kwargs": {"thinking": true, "x": 1})")),
            json({{"thinking", true}, {"x", 1}, {"enable_thinking", false}}))
      << "the client's own variables go first";
}

TEST(MessagesRequest, OutputConfig) {
  const MessagesRequest request = Parse(R"(, "output_config": {"effort": "high", "format": {
      "type": "json_schema", "schema": {"type": "object", "properties": {"b": {}, "a": {}}}}})");
  EXPECT_EQ(request.call.chat().chat_template_kwargs(), R"({"reasoning_effort":"high"})");
  EXPECT_EQ(request.call.structured_output().json_schema(),
            R"({"type": "object", "properties": {"b": {}, "a": {}}})");
  EXPECT_TRUE(request.call.structured_output().strict());
  const MessagesRequest older = Parse(R"(, "output_format": {"type": "json_schema",
      "schema": {"const": 1}})");
  EXPECT_EQ(older.call.structured_output().json_schema(), R"({"const": 1})");
}

TEST(MessagesRequest, MistakesAreNamed) {
  const std::pair<const char*, const char*> kMistakes[] = {
      {R"(, "max_tokens": 0)", "max_tokens: must be an integer in [1, 4294967295], got 0"},
      {R"(, "max_tokens": null)", "max_tokens: must be given"},
      {R"(, "temperature": 1.5)", "temperature: must be a number in [0, 1], got 1.5"},
      {R"(, "top_k": -1)", "top_k: must be an integer in [0, 2147483647], got -1"},
      {R"(, "stop_sequences": [1])", "stop_sequences[0]: must be a string, got 1"},
      {R"(, "stream": "yes")", "stream: must be true or false, got \"yes\""},
      {R"(, "thinking": {"type": "maybe"})",
       R"(thinking.type: must be "enabled", "disabled", "adaptive" or "between_tools", got "maybe")"},
      {R"(, "thinking": {"type": "enabled"})", "thinking.budget_tokens: must be given"},
      {R"(, "thinking": {"type": "enabled", "budget_tokens": 1023})",
       "thinking.budget_tokens: must be an integer in [1024, 4294967295], got 1023"},
      {R"(, "thinking": {"type": "enabled", "budget_tokens": 2000})",
       "thinking.budget_tokens: must be less than max_tokens (2000), got 2000"},
      {R"(, "thinking": {"type": "adaptive", "display": "all"})",
       R"(thinking.display: must be "summarized" or "omitted", got "all")"},
      {R"(, "output_config": {"effort": "huge"})",
       R"(output_config.effort: must be "low", "medium", "high", "xhigh" or "max", got "huge")"},
      {R"(, "output_config": {"format": {"type": "text"}})",
       R"(output_config.format.type: must be "json_schema", got "text")"},
      {R"(, "output_config": {"format": {"type": "json_schema"}})",
       "output_config.format.schema: must be given"},
      {R"(, "tools": [5])", "tools[0]: must be an object, got 5"},
      {R"(, "tools": [{"input_schema": {}}])", "tools[0].name: must be given"},
      {R"(, "tools": [{"name": "f"}])", "tools[0].input_schema: must be given"},
      {R"(, "tools": [{"name": "f", "input_schema": {}, "description": 5}])",
       "tools[0].description: must be a string, got 5"},
      {R"(, "tool_choice": {"type": "any"})",
       R"(tool_choice.type: must be "auto" or "none" without tools that the model can be given, )"
       R"(got "any")"},
      {R"(, "tool_choice": "auto")", R"(tool_choice: must be an object, got "auto")"},
      {R"(, "tool_choice": {"type": "some"})",
       R"(tool_choice.type: must be "auto", "any", "tool" or "none", got "some")"},
  };
  for (const auto& [more, message] : kMistakes) EXPECT_EQ(Refusal(more), message) << more;
  EXPECT_EQ(Refusal(absl::StrCat(kTools, R"(, "tool_choice": {"type": "tool"})")),
            "tool_choice.name: must be given");
  EXPECT_THAT(
      Refusal(absl::StrCat(kTools, R"(, "tool_choice": {"type": "tool", "name": "web_search"})")),
      HasSubstr(R"(tool_choice.name: must be the name of one of the tools, got "web_s)"));
  EXPECT_THAT(std::string(ParseMessagesRequest("[]").status().message()),
              HasSubstr("body: must be a JSON object"));
}

TEST(MessagesRequest, CountTokensCountsTheSamePrompt) {
  const std::string more = absl::StrCat(kTools, R"(, "system": "Be brief.",
      "tool_choice": {"type": "any"}, "output_config": {"effort": "low"},
      "thinking": {"type": "enabled", "budget_tokens": 1024})");
  const auto count = ParseCountTokensRequest(Body(more));
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_EQ(count->model(), "m");
  EXPECT_EQ(count->chat().SerializeAsString(), Parse(more).call.chat().SerializeAsString());
  EXPECT_TRUE(ParseCountTokensRequest(R"({"messages": [{"role": "user", "content": "Hi"}]})").ok())
      << "max_tokens is not of it";
  EXPECT_EQ(ParseCountTokensRequest("{}").status().message(),
            "messages: must be an array of at least one message");
  v1::TokenizeResponse response;
  for (const uint32_t id : {5, 6, 7}) response.add_token_ids(id);
  EXPECT_EQ(RenderCountTokensResponse(response), R"({"input_tokens":3})");
}

}  // namespace
}  // namespace tidal
