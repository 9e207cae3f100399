// A request as a whole: the call it becomes, what is echoed, what bad fields are told.
#include "server/responses/responses_request.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/responses/responses_api.h"

namespace tidal {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

absl::StatusOr<ResponsesRequest> ParseFields(const std::string& fields) {
  return ParseResponsesRequest(absl::StrCat("{\"input\": \"Hi\"", fields, "}"));
}

ResponsesRequest Request(const std::string& fields) {
  auto request = ParseFields(fields);
  EXPECT_TRUE(request.ok()) << fields << ": " << request.status();
  return request.value_or(ResponsesRequest());
}

// As text, so that a difference is readable.
std::string CallText(const std::string& text) {
  v1::GenerateRequest call;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &call)) << text;
  return call.Utf8DebugString();
}

json Echo(const std::string& fields) {
  return json::parse(absl::StrCat("{", Request(fields).options.echo, "}"));
}

TEST(ResponsesRequest, Defaults) {
  EXPECT_EQ(Request("").call.Utf8DebugString(), CallText(R"(
      chat { messages { role: "user" content: "Hi" } } sampling {} stopping {} n: 1
      output { final_only: true parsing { reasoning: true } })"));
}

TEST(ResponsesRequest, ARequestWithAllThatWorks) {
  const ResponsesRequest request = Request(R"(, "model": "m", "instructions": "Be kind.",
      "max_output_tokens": 5, "temperature": 0.5, "top_p": 0.25, "top_logprobs": 2,
      "include": ["message.output_text.logprobs", "reasoning.encrypted_content"], "stream": true,
      "stream_options": {"include_obfuscation": false}, "reasoning": {"effort": "low"},
      "text": {"verbosity": "high", "format": {"type": "json_schema", "name": "n", "strict": true,
               "schema": {"type": "object", "b": 1, "a": 1.0}}},
      "tools": [{"type": "function", "name": "f"}], "tool_choice": "required",
      "parallel_tool_calls": false, "top_k": 7, "seed": 3, "priority": 2, "request_id": "r",
      "attention": {"mode": "tidal", "budget": 64})");
  EXPECT_EQ(request.call.Utf8DebugString(), CallText(R"(
      model: "m" n: 1 priority: 2
      chat { messages { role: "system" content: "Be kind." }
             messages { role: "user" content: "Hi" }
             tools: '{"type": "function", "function": {"name": "f"}}'
             chat_template_kwargs: '{"verbosity":"high","reasoning_effort":"low",'
                                   '"enable_thinking":true,"thinking":true}' }
      sampling { temperature: 0.5 top_p: 0.25 top_k: 7 seed: 3 }
      stopping { max_tokens: 5 }
      output { logprobs: 2 parsing { reasoning: true tool_calls: true
               tool_choice { required: true single: true } } }
      attention { mode: ATTENTION_MODE_TIDAL budget: 64 }
      structured_output { json_schema: '{"type": "object", "b": 1, "a": 1.0}' strict: true })"));
  EXPECT_EQ(request.request_id, "r");
  EXPECT_TRUE(request.options.stream);
  EXPECT_TRUE(request.options.logprobs);
  EXPECT_EQ(request.options.model, "m");
}

TEST(ResponsesRequest, FormatsOfTheText) {
  EXPECT_TRUE(Request(R"(, "text": {"format": {"type": "json_object"}})")
                  .call.structured_output()
                  .json_object());
  for (const char* text : {"{}", R"({"format": {"type": "text"}})", R"({"format": null})"}) {
    EXPECT_FALSE(Request(absl::StrCat(", \"text\": ", text)).call.has_structured_output()) << text;
  }
}

TEST(ResponsesRequest, StructuresAsVllmHasThem) {
  const ResponsesRequest request =
      Request(R"(, "structured_outputs": {"regex": "a+"}, "text": {"format": {"type": "text"}})");
  EXPECT_EQ(request.call.structured_output().regex(), "a+");
  EXPECT_EQ(request.options.structure_field, "structured_outputs.regex");
  EXPECT_EQ(Request("").options.structure_field, "tools");
  EXPECT_EQ(Request(R"(, "text": {"format": {"type": "json_schema", "schema": {}}})")
                .options.structure_field,
            "text.format.schema");
}

TEST(ResponsesRequest, EchoOfDefaults) {
  EXPECT_EQ(Echo(""), json::parse(R"({"instructions": null, "max_output_tokens": null,
      "max_tool_calls": null, "metadata": {}, "parallel_tool_calls": true,
      "prompt_cache_key": null, "reasoning": {"effort": null, "summary": null},
      "safety_identifier": null, "temperature": null, "text": {"format": {"type": "text"}},
      "tool_choice": "auto", "tools": [], "top_logprobs": null, "top_p": null,
      "truncation": "disabled", "user": null})"));
}

TEST(ResponsesRequest, EchoIsWhatTheClientSaid) {
  const std::string fields = R"("metadata": {"b": "1", "a": "2"}, "instructions": "Be\nkind.",
      "tools": [{"type": "web_search"}, {"type": "function", "name": "f", "parameters": {}}],
      "tool_choice": {"type": "function", "name": "f"}, "temperature": 0.25, "user": "u",
      "text": {"verbosity": "low"}, "parallel_tool_calls": false, "prompt_cache_key": "k")";
  const json said = json::parse(absl::StrCat("{", fields, "}"));
  const json echo = Echo(absl::StrCat(", ", fields));
  for (const auto& [name, value] : said.items()) EXPECT_EQ(echo[name], value) << name;
  // One line, as it stands in events.
  EXPECT_EQ(Request(absl::StrCat(",\n", fields)).options.echo.find('\n'), std::string::npos);
}

TEST(ResponsesRequest, NamesInAHeaderWhatIsNotDone) {
  const auto request = ReadResponses(R"({"input": "Hi", "moderation": {"model": "x"},
      "context_management": [{"type": "compaction"}], "tools": [{"type": "web_search"}]})");
  ASSERT_TRUE(request.ok()) << request.status();
  ASSERT_EQ(request->headers.size(), 1);
  EXPECT_EQ(request->headers[0].first, "X-Tidal-Left-Out");
  EXPECT_EQ(request->headers[0].second,
            "context_management (hosted), moderation (hosted), tools[0] (web_search)");
  EXPECT_TRUE(ReadResponses(R"({"input": "Hi"})")->headers.empty());
}

TEST(ResponsesRequest, NothingIsStored) {
  const ApiError error = NoSuchResponse("resp_5");
  EXPECT_EQ(error.http_status, 404);
  EXPECT_EQ(error.type, "not_found_error");
  EXPECT_EQ(error.param, "response_id");
  EXPECT_THAT(error.message, HasSubstr("stores no responses"));
}

struct BadField {
  const char *fields, *message;
};

constexpr BadField kBadFields[] = {
    {R"("previous_response_id": "resp_1")",
     "previous_response_id: must be absent: this server stores no responses"},
    {R"("conversation": {"id": "conv_1"})",
     "conversation: must be absent: this server stores no conversations"},
    {R"("prompt": {"id": "pmpt_1"})", "prompt: must be absent: this server stores no prompts"},
    {R"("background": true)", "background: must be false: this server runs nothing without"},
    {R"("truncation": "auto")", R"(truncation: must be "disabled": this server drops nothing)"},
    {R"("store": "yes")", R"(store: must be true or false, got "yes")"},
    {R"("metadata": 5)", "metadata: must be an object, got 5"},
    {R"("include": "x")", R"(include: must be an array, got "x")"},
    {R"("include": [5])", "include[0]: must be a string, got 5"},
    {R"("instructions": ["x"])", "instructions: must be a string, got "},
    {R"("max_output_tokens": 0)", "max_output_tokens: must be an integer in [1, "},
    {R"("reasoning": "high")", R"(reasoning: must be an object, got "high")"},
    {R"("reasoning": {"effort": "huge"})", R"(reasoning.effort: must be "none", "minimal", )"},
    {R"("text": {"verbosity": "huge"})", R"(text.verbosity: must be "low", "medium" or "high")"},
    {R"("text": {"format": {"type": "xml"}})",
     R"(text.format.type: must be "text", "json_object" or "json_schema", got "xml")"},
    {R"("text": {"format": {"type": "json_schema", "name": "n"}})",
     "text.format.schema: must be given"},
    {R"("text": {"format": {"type": "json_schema", "schema": true}})",
     "text.format.schema: must be an object, got true"},
    {R"("structured_outputs": {"regex": "a"}, "text": {"format": {"type": "json_object"}})",
     R"(text.format: must be absent or {"type": "text"} beside another)"},
    {R"("n": 2)", "n: must be 1, this API has one output"},
    {R"("stream_options": {})", "stream_options: must be absent unless stream is true"},
    {R"("chat_template_kwargs": 5)", "chat_template_kwargs: must be an object, got 5"},
};

TEST(ResponsesRequest, FaultsNameTheField) {
  for (const BadField& bad : kBadFields) {
    const auto request = ParseFields(absl::StrCat(", ", bad.fields));
    EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument) << bad.fields;
    EXPECT_THAT(std::string(request.status().message()), StartsWith(bad.message)) << bad.fields;
  }
  EXPECT_THAT(std::string(ParseResponsesRequest("[").status().message()), StartsWith("body: "));
}

}  // namespace
}  // namespace tidal
