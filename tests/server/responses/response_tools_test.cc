// Which tools a model is offered, and which it may call.
#include "server/responses/response_tools.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/responses/responses_request.h"

namespace tidal {
namespace {

using ::testing::StartsWith;

constexpr char kTools[] = R"(, "tools": [
    {"type": "function", "name": "f", "description": "F", "parameters":
     {"type": "object", "properties": {"z": {"type": "number", "maximum": 1.50}, "a": {}}},
     "strict": false},
    {"type": "web_search", "external_web_access": false},
    {"type": "namespace", "name": "mcp__files__", "description": "Files", "tools": [
      {"type": "function", "name": "read", "strict": true}, {"type": "mcp"}]},
    {"type": "namespace", "name": "agents", "description": "", "tools": [
      {"type": "custom", "name": "tell"}]},
    {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format":
     {"type": "grammar", "syntax": "lark", "definition": "start: \"x\""}}])";

absl::StatusOr<ResponsesRequest> ParseTools(const std::string& more) {
  return ParseResponsesRequest(absl::StrCat("{\"input\": \"Hi\"", more, "}"));
}

ResponsesRequest RequestWith(const std::string& more) {
  auto request = ParseTools(more);
  EXPECT_TRUE(request.ok()) << request.status();
  return request.value_or(ResponsesRequest());
}

TEST(ResponseTools, FunctionsAreInTheClientsWords) {
  EXPECT_EQ(RequestWith(kTools).call.chat().tools(0),
            R"({"type": "function", "function": {"name": "f", "description": "F", "parameters": )"
            "{\"type\": \"object\", \"properties\": {\"z\": {\"type\": \"number\", "
            "\"maximum\": 1.50}, \"a\": {}}}}}");
}

TEST(ResponseTools, FunctionsOfANamespaceHaveItsName) {
  const ResponsesRequest request = RequestWith(kTools);
  EXPECT_EQ(request.call.chat().tools(1),
            R"({"type": "function", "function": {"name": "mcp__files__read", "strict": true}})");
  const ClientTool& read = request.options.tools.at("mcp__files__read");
  EXPECT_EQ(read.name_space, "mcp__files__");
  EXPECT_EQ(read.name, "read");
  EXPECT_FALSE(read.custom);
  EXPECT_EQ(read.path, "tools[2].tools[0]");
  EXPECT_EQ(read.index, 1);
  EXPECT_TRUE(request.options.tools.at("agents__tell").custom);
}

TEST(ResponseTools, CustomToolsTakeOneText) {
  const auto tool = nlohmann::json::parse(RequestWith(kTools).call.chat().tools(3));
  EXPECT_EQ(tool["type"], "function");
  EXPECT_EQ(tool["function"]["name"], "apply_patch");
  EXPECT_EQ(tool["function"]["description"],
            "Edits files.\n\nThe input must follow this lark grammar:\nstart: \"x\"");
  const nlohmann::json& parameters = tool["function"]["parameters"];
  EXPECT_EQ(parameters["required"].dump(), R"(["input"])");
  EXPECT_EQ(parameters["properties"]["input"]["type"], "string");
  EXPECT_EQ(parameters["additionalProperties"], false);
}

TEST(ResponseTools, WhatOnlyOpenAiRunsIsLeftOutAndNamed) {
  const ResponsesRequest request = RequestWith(kTools);
  EXPECT_EQ(request.call.chat().tools_size(), 4);
  EXPECT_EQ(request.left_out.Header(),
            "tools[1] (web_search), tools[2].tools[1] (mcp), tools[4].format (grammar)");
  for (const char* type : {"file_search", "code_interpreter", "computer", "image_generation", "mcp",
                           "local_shell", "tool_search", "shell", "apply_patch"}) {
    const ResponsesRequest hosted =
        RequestWith(absl::StrCat(", \"tools\": [{\"type\": \"", type, "\"}]"));
    EXPECT_EQ(hosted.left_out.Header(), absl::StrCat("tools[0] (", type, ")"));
    EXPECT_FALSE(hosted.call.output().parsing().tool_calls());
  }
}

TEST(ResponseTools, FreeTextNeedsNoGrammar) {
  EXPECT_TRUE(RequestWith(R"(, "tools": [{"type": "custom", "name": "c",
      "format": {"type": "text"}}])")
                  .left_out.empty());
}

struct Choice {
  const char* choice;   // JSON, with what comes after it
  const char* parsing;  // as text
};

constexpr Choice kChoices[] = {
    {R"("auto")", "reasoning: true tool_calls: true"},
    {"null", "reasoning: true tool_calls: true"},
    {R"("none")", "reasoning: true"},
    {R"("required")", "reasoning: true tool_calls: true tool_choice { required: true }"},
    {R"({"type": "function", "name": "f"})",
     "reasoning: true tool_calls: true tool_choice { required: true names: \"f\" single: true }"},
    {R"({"type": "function", "name": "read"})",
     "reasoning: true tool_calls: true tool_choice { required: true names: \"mcp__files__read\" "
     "single: true }"},
    {R"({"type": "custom", "name": "tell", "namespace": "agents"})",
     "reasoning: true tool_calls: true tool_choice { required: true names: \"agents__tell\" "
     "single: true }"},
    {R"({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"},
         {"type": "web_search"}, {"type": "custom", "name": "apply_patch"}]})",
     "reasoning: true tool_calls: true tool_choice { required: true names: \"f\" "
     "names: \"apply_patch\" }"},
    {R"({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]})",
     "reasoning: true tool_calls: true tool_choice { names: \"f\" }"},
    {R"({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]})", "reasoning: true"},
    {R"("auto", "parallel_tool_calls": true)", "reasoning: true tool_calls: true"},
    {R"("auto", "parallel_tool_calls": false)",
     "reasoning: true tool_calls: true tool_choice { single: true }"},
    {R"("required", "parallel_tool_calls": false)",
     "reasoning: true tool_calls: true tool_choice { required: true single: true }"},
    {R"("none", "parallel_tool_calls": false)", "reasoning: true"},
};

TEST(ResponseTools, TheChoiceOfTools) {
  for (const Choice& test : kChoices) {
    const auto request = ParseTools(absl::StrCat(kTools, ", \"tool_choice\": ", test.choice));
    ASSERT_TRUE(request.ok()) << test.choice << ": " << request.status();
    EXPECT_EQ(request->call.output().parsing().ShortDebugString(), test.parsing) << test.choice;
  }
}

struct BadTools {
  const char *fields, *message;
};

constexpr BadTools kBadTools[] = {
    {R"("tools": 5)", "tools: must be an array, got 5"},
    {R"("tools": ["x"])", R"(tools[0]: must be an object, got "x")"},
    {R"("tools": [{}])", "tools[0].type: must be given"},
    {R"("tools": [{"type": "function"}])", "tools[0].name: must be given"},
    {R"("tools": [{"type": "function", "function": {"name": "f"}}])",
     "tools[0].name: must be given"},
    {R"("tools": [{"type": "function", "name": "f", "parameters": []}])",
     "tools[0].parameters: must be an object"},
    {R"("tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "f"}])",
     R"(tools[1].name: must be another than of the tools before, got "f")"},
    {R"("tools": [{"type": "function", "name": "n__f"}, {"type": "namespace", "name": "n",
        "tools": [{"type": "function", "name": "f"}]}])",
     "tools[1].tools[0].name: must be another"},
    {R"("tools": [{"type": "namespace", "name": "n"}])", "tools[0].tools: must be given"},
    {R"("tools": [{"type": "custom", "name": "c", "format": {"type": 1}}])",
     "tools[0].format.type: must be a string, got 1"},
    {R"("tool_choice": "required")", "tool_choice: must not be required without tools"},
    {R"("tool_choice": "any")", R"(tool_choice: must be "auto", "none", "required" or an object)"},
    {R"("tool_choice": {"type": "file_search"})",
     R"(tool_choice.type: must be "function", "custom" or "allowed_tools", got "file_search")"},
    {R"("tool_choice": {"type": "function", "name": "g"})",
     "tool_choice.name: must be one of the tools"},
    {R"("tool_choice": {"type": "allowed_tools", "mode": "x", "tools": []})",
     R"(tool_choice.mode: must be "auto" or "required", got "x")"},
    {R"("tool_choice": {"type": "allowed_tools", "mode": "required", "tools": []})",
     "tool_choice.tools: must have a function or a custom tool"},
    {R"("tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "g"}]})",
     "tool_choice.tools[0].name: must be one of the tools"},
};

TEST(ResponseTools, FaultsNameTheField) {
  for (const BadTools& bad : kBadTools) {
    const auto request = ParseTools(absl::StrCat(", ", bad.fields));
    EXPECT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument) << bad.fields;
    EXPECT_THAT(std::string(request.status().message()), StartsWith(bad.message)) << bad.fields;
  }
}

}  // namespace
}  // namespace tidal
