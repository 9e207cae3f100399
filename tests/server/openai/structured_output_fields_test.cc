// What a request asks its outputs to be, in each of the forms that clients have for it.
#include "server/openai/structured_output_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "server/openai/openai_error.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

absl::StatusOr<OpenAiRequest> ParseStructured(const std::string& fields) {
  return ParseChatRequest(
      absl::StrCat(R"({"messages": [{"role": "user", "content": "Hi"}], )", fields, "}"));
}

v1::StructuredOutput Structure(const std::string& fields) {
  const auto request = ParseStructured(fields);
  EXPECT_TRUE(request.ok()) << fields << ": " << request.status();
  return request.ok() ? request->calls[0].structured_output() : v1::StructuredOutput();
}

v1::ReplyParsing Parsing(const std::string& fields) {
  const auto request = ParseStructured(fields);
  EXPECT_TRUE(request.ok()) << fields << ": " << request.status();
  return request.ok() ? request->calls[0].output().parsing() : v1::ReplyParsing();
}

TEST(StructuredOutputFields, ResponseFormat) {
  EXPECT_FALSE(
      ParseStructured(R"("response_format": {"type": "text"})")->calls[0].has_structured_output());
  EXPECT_TRUE(Structure(R"("response_format": {"type": "json_object"})").json_object());
  const v1::StructuredOutput schema = Structure(R"("response_format": {"type": "json_schema",
      "json_schema": {"name": "n", "strict": true, "schema": {"z": 1.50, "a": {}}}})");
  EXPECT_EQ(schema.json_schema(), R"({"z": 1.50, "a": {}})") << "as the client wrote it";
  EXPECT_TRUE(schema.strict());
  const v1::StructuredOutput bare =
      Structure(R"("response_format": {"type": "json_schema", "json_schema": {"name": "n"}})");
  EXPECT_TRUE(bare.json_object());
  EXPECT_FALSE(bare.strict());
}

TEST(StructuredOutputFields, StructuralTagsOfBothForms) {
  EXPECT_THAT(Structure(R"("response_format": {"type": "structural_tag",
                            "format": {"type": "any_text"}})")
                  .structural_tag(),
              HasSubstr(R"("format": {"type": "any_text"})"));
  EXPECT_EQ(Structure(R"("response_format": {"type": "structural_tag", "triggers": ["<f"],
                          "structures": [{"begin": "<f>", "schema": {"type": "object"},
                                          "end": "</f>"}]})")
                .structural_tag(),
            R"({"format":{"type":"triggered_tags","triggers":["<f"],"tags":[{"type":"tag",)"
            R"("begin":"<f>","content":{"type":"json_schema","json_schema":{"type":"object"}},)"
            R"("end":"</f>"}]}})");
}

TEST(StructuredOutputFields, VllmsForms) {
  for (const char* prefix : {"structured_outputs", "guided"}) {
    const bool guided = prefix == std::string("guided");
    const auto with = [&](const std::string& kind, const std::string& value) {
      return Structure(guided
                           ? absl::StrCat("\"guided_", kind, "\": ", value)
                           : absl::StrCat("\"structured_outputs\": {\"", kind, "\": ", value, "}"));
    };
    EXPECT_EQ(with("json", R"({"b": 1, "a": 2})").json_schema(), R"({"b": 1, "a": 2})");
    EXPECT_EQ(with("json", R"("{\"b\": 1}")").json_schema(), R"({"b": 1})") << "as text";
    EXPECT_EQ(with("json", "true").json_schema(), "true");
    EXPECT_EQ(with("regex", R"("a+")").regex(), "a+");
    EXPECT_THAT(with("choice", R"(["x", "y"])").choice().texts(), ElementsAre("x", "y"));
    EXPECT_EQ(with("grammar", R"("root ::= \"a\"")").grammar(), R"(root ::= "a")");
  }
  EXPECT_TRUE(Structure(R"("structured_outputs": {"json_object": true})").json_object());
  EXPECT_EQ(Structure(R"("structured_outputs": {"structural_tag": "{}"})").structural_tag(), "{}");
  EXPECT_TRUE(
      Structure(R"("structured_outputs": {"json": {}, "disable_any_whitespace": true})").compact());
}

TEST(StructuredOutputFields, TheServicesFaultsNameTheClientsField) {
  const auto param = [](const std::string& fields, const std::string& fault) {
    const auto request = ParseStructured(fields);
    EXPECT_TRUE(request.ok()) << request.status();
    return ToApiError(absl::InvalidArgumentError(fault + ": must be better"), request->reply).param;
  };
  constexpr char kSchema[] = "structured_output.json_schema";
  EXPECT_EQ(param(R"("response_format": {"type": "json_schema", "json_schema": {"schema": {}}})",
                  kSchema),
            "response_format.json_schema.schema");
  EXPECT_EQ(param(R"("structured_outputs": {"json": {}})", kSchema), "structured_outputs.json");
  EXPECT_EQ(param(R"("guided_json": {})", kSchema), "guided_json");
  EXPECT_EQ(param(R"("guided_json": {})", "structured_output"), "guided_json");
  EXPECT_EQ(param(R"("guided_choice": [""])", "structured_output.choice.texts[0]"),
            "guided_choice[0]");
  EXPECT_EQ(param(R"("n": 2)", "structured_output"), "tools");
  EXPECT_EQ(param(R"("n": 2)", "structured_outputs.regex"), "structured_outputs.regex");
  EXPECT_EQ(param(R"("n": 2)", "output.parsing.thinking_token_budget"), "thinking_token_budget");
  EXPECT_EQ(param(R"("n": 2)", "output.parsing.tool_choice.names[0]"), "tool_choice.names[0]");
  EXPECT_EQ(param(R"("n": 2)", "chat.tools[3].function.name"), "tools[3].function.name");
}

constexpr char kOneTool[] = R"("tools": [{"type": "function", "function": {"name": "f"}}], )";

TEST(StructuredOutputFields, ToolChoice) {
  const auto choice = [](const std::string& value) {
    return Parsing(absl::StrCat(kOneTool, "\"tool_choice\": ", value));
  };
  EXPECT_FALSE(choice(R"("auto")").tool_choice().required());
  EXPECT_TRUE(choice(R"("auto")").tool_calls());
  EXPECT_FALSE(choice(R"("none")").tool_calls());
  EXPECT_TRUE(choice(R"("required")").tool_choice().required());
  EXPECT_FALSE(choice(R"("required")").tool_choice().single());
  const v1::ToolChoice named =
      choice(R"({"type": "function", "function": {"name": "f"}})").tool_choice();
  EXPECT_TRUE(named.required());
  EXPECT_TRUE(named.single());
  EXPECT_THAT(named.names(), ElementsAre("f"));
  for (const bool required : {false, true}) {
    const v1::ToolChoice allowed =
        choice(absl::StrCat(R"({"type": "allowed_tools", "allowed_tools": {"mode": ")",
                            required ? "required" : "auto",
                            R"(", "tools": [{"type": "function", "function": {"name": "f"}},
                                            {"type": "function", "function": {"name": "g"}}]}})"))
            .tool_choice();
    EXPECT_EQ(allowed.required(), required);
    EXPECT_THAT(allowed.names(), ElementsAre("f", "g"));
  }
  EXPECT_TRUE(
      Parsing(absl::StrCat(kOneTool, R"("parallel_tool_calls": false)")).tool_choice().single());
  EXPECT_FALSE(
      Parsing(absl::StrCat(kOneTool, R"("parallel_tool_calls": true)")).tool_choice().single());
  EXPECT_TRUE(
      ParseStructured(absl::StrCat(kOneTool, R"("tool_choice": {"type": "function", "function": )",
                                   R"({"name": "f"}})"))
          ->reply.named_tool);
}

TEST(StructuredOutputFields, BadFields) {
  const struct {
    std::string fields;
    const char* message;  // how the answer starts
  } cases[] = {
      {R"("response_format": "json")", "response_format: must be an object"},
      {R"("response_format": {})", "response_format.type: must be given"},
      {R"("response_format": {"type": 5})", "response_format.type: must be a string, got 5"},
      {R"("response_format": {"type": "xml"})",
       R"(response_format.type: must be "text", "json_object", "json_schema" or "structural_tag")"},
      {R"("response_format": {"type": "json_schema"})",
       "response_format.json_schema: must be given"},
      {R"("response_format": {"type": "json_schema", "json_schema": []})",
       "response_format.json_schema: must be an object"},
      {R"("response_format": {"type": "json_schema", "json_schema": {"schema": 5}})",
       "response_format.json_schema.schema: must be a JSON schema, got 5"},
      {R"("response_format": {"type": "json_schema", "json_schema": {"strict": "yes"}})",
       "response_format.json_schema.strict: must be true or false"},
      {R"("response_format": {"type": "structural_tag"})", "response_format.format: must be given"},
      {R"("response_format": {"type": "structural_tag", "structures": [5]})",
       "response_format.structures: must be an array of objects"},
      {R"("response_format": {"type": "structural_tag", "structures": [{"begin": 5}]})",
       "response_format.structures.begin: must be a string, got 5"},
      {R"("structured_outputs": {})", "structured_outputs: must have exactly one of json, regex"},
      {R"("structured_outputs": {"json_object": false})", "structured_outputs: must have exactly"},
      {R"("structured_outputs": {"regex": "a", "json": {}})",
       "structured_outputs: must have exactly"},
      {R"("structured_outputs": {"regex": 5})", "structured_outputs.regex: must be a string"},
      {R"("structured_outputs": {"choice": []})",
       "structured_outputs.choice: must have at least one text"},
      {R"("structured_outputs": {"choice": [5]})",
       "structured_outputs.choice: must be an array of strings"},
      {R"("structured_outputs": {"choice": "a"})", "structured_outputs.choice: must be an array"},
      {R"("guided_json": 5)", "guided_json: must be a JSON schema, got 5"},
      {R"("guided_regex": "a", "guided_json": {})", "guided_json: must be the only one of"},
      {R"("guided_regex": "a", "response_format": {"type": "json_object"})",
       "guided_regex: must be the only one of response_format, structured_outputs and guided_*"},
      {R"("tool_choice": "maybe")",
       R"(tool_choice: must be "none", "auto", "required" or an object, got "maybe")"},
      {R"("tool_choice": 5)", "tool_choice: must be"},
      {R"("tool_choice": ["f"])", "tool_choice: must be"},
      {R"("tool_choice": {})", R"(tool_choice: must be {"type": "function")"},
      {R"("tool_choice": {"type": 5})", R"(tool_choice: must be {"type": "function")"},
      {R"("tool_choice": {"type": "function", "function": {"name": 5}})", "tool_choice: must be"},
      {R"("tool_choice": {"type": "function", "function": "f"})", "tool_choice: must be"},
      {R"("tool_choice": {"type": "allowed_tools"})",
       "tool_choice.allowed_tools: must have tools, an array of at least one"},
      {R"("tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": []}})",
       "tool_choice.allowed_tools: must have tools"},
      {R"("tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": 5, "tools": [{}]}})",
       R"(tool_choice.allowed_tools.mode: must be "auto" or "required", got 5)"},
      {R"("tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": ["f"]}})",
       "tool_choice.allowed_tools.tools: must be objects"},
      {R"("tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": [{"type": 5}]}})",
       "tool_choice.allowed_tools.tools: must be"},
      {R"("parallel_tool_calls": "no")", "parallel_tool_calls: must be true or false"},
      {R"("thinking_token_budget": -1)",
       "thinking_token_budget: must be an integer in [0, 4294967295], got -1"},
  };
  for (const auto& [fields, message] : cases) {
    const auto request = ParseStructured(fields);
    EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument) << fields;
    EXPECT_THAT(std::string(request.status().message()), StartsWith(message)) << fields;
  }
}

}  // namespace
}  // namespace tidal
