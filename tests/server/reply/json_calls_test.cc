// Families that write calls as JSON.
#include <gtest/gtest.h>

#include <string>

#include "tests/server/reply/reply_test_util.h"

namespace tidal {
namespace {

TEST(JsonCallsTest, Hermes) {
  const std::vector<ReplyCase> cases = {
      {"<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Köln\"}}\n</tool_call>",
       "weather{\"city\": \"Köln\"}."},
      // The model's own characters, whatever it writes between braces.
      {"<tool_call>{\"name\":\"f\",\"arguments\":{ \"a\" :\t[1,{\"b\":\"}]\\\"\"}] }}</tool_call>",
       "f{ \"a\" :\t[1,{\"b\":\"}]\\\"\"}] }."},
      {"<tool_call>{\"name\": \"f\", \"arguments\": {'a': True}}</tool_call>", "f{'a': True}."},
      // Either order of the keys, others beside them.
      {"<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"f\"}</tool_call>", "f{\"a\": 1}."},
      {"<tool_call>{\"id\": [7, \"x\"], \"name\": \"f\", \"arguments\": {}, \"z\": {\"y\": 1}}"
       "</tool_call>",
       "f{}."},
      {"<tool_call>{\"name\": \"f\", \"parameters\": {\"a\": 1}}</tool_call>", "f{\"a\": 1}."},
      // None at all.
      {"<tool_call>{\"name\": \"f\"}</tool_call>", "f{}."},
      {"<tool_call>{\"name\": \"f\", \"arguments\": null}</tool_call>", "f{}."},
      {"<tool_call>{\"name\": \"f\", \"arguments\": \"\"}</tool_call>", "f{}."},
      // Arguments within a string.
      {"<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": "
       "\\\"\\u00e9\\n\\\"}\"}</tool_call>",
       "f{\"a\": \"é\n\"}."},
      // A name with escapes.
      {"<tool_call>{\"name\": \"na\\u006De\", \"arguments\": {}}</tool_call>", "name{}."},
      // Several, with text around.
      {"Let me see.\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n"
       "<tool_call>\n{\"name\": \"g\", \"arguments\": {\"x\": 2}}\n</tool_call>\n",
       "text(Let me see.)f{}.g{\"x\": 2}."},
      {"<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>\n so\n"
       "<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call> and so ",
       "f{}.text(so)g{}.text(\n and so )"},
      {"<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n{\"name\": \"g\"}\n</tool_call>",
       "f{}.g{}."},
      // End markers that are missing.
      {"<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}", "f{\"a\": 1}."},
      {"<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n<tool_call>{\"name\": \"g\"}",
       "f{\"a\": 1}.g{}."},
      {"<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}\n</tool_call>after",
       "f{\"a\": 1}.text(after)"},
      {"<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}", "f{\"a\": 1}."},
      {"<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_c", "f{\"a\": 1}."},
      // Cut off by the limit of tokens.
      {"<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": [1, \"x", "f{\"a\": [1, \"x!"},
  };
  for (const char* name : {"hermes", "qwen3_json", "granite4"}) ExpectAll({name}, cases);
}

TEST(JsonCallsTest, WhatIsNoCallIsContent) {
  for (const std::string reply : {
           "",
           " ",
           "\n a \n",
           "<",
           "a < b <tool",
           "<tool_call>",
           "<tool_call>\n",
           "x <tool_call> y",
           "<tool_call>{}</tool_call>",
           "<tool_call>{\"name\": 5}</tool_call>",
           "<tool_call>{\"name\": \"\"}</tool_call>",
           "<tool_call>[]</tool_call>",
           "<tool_call>{\"arguments\": {\"a\": 1}}</tool_call>",
           "<tool_call>{\"name\": \"f\", \"arguments\": 5}</tool_call>",
           "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
           "<tool_call>{\"name\": \"f\", \"arguments\": \"5\"}</tool_call>",
           "<tool_call>{\"arguments\": {\"a\": ]}, \"name\": \"f\"}</tool_call>",
           "<tool_call>{\"name\": \"f\" \"arguments\": {}}",
           "<tool_call>{\"name\"}",
           "\n\n<tool_call>\nno\n",
           "<tool_call>{\"name\": \"f\", \"argum",
           "</tool_call>",
           "<tool_call></tool_call> é </tool_call>",
       }) {
    const std::string expected = reply.empty() ? "" : "text(" + reply + ")";
    EXPECT_EQ(ParseCut({"hermes"}, reply), expected);
  }
  ExpectAll(
      {"hermes"},
      {// A broken one does not hide the good one behind it.
       {"<tool_call>oops <tool_call>{\"name\": \"f\"}</tool_call>", "text(<tool_call>oops)f{}."},
       {"<tool_call><tool_call>{\"name\": \"f\"}</tool_call>", "text(<tool_call>)f{}."},
       {"<tool_call>{\"name\": \"f\"}</tool<tool_call>{\"name\": \"g\"}", "f{}.text(</tool)g{}."},
       // Arguments that make no sense: what came of them came.
       {"<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": [1}}</tool_call>",
        "f{\"a\": [1!text(}}</tool_call>)"}});
  // Without a format nothing is looked for.
  EXPECT_EQ(ParseCut({}, "<think>a</think> <tool_call>{\"name\": \"f\"}"),
            "text(<think>a</think> <tool_call>{\"name\": \"f\"})");
}

TEST(JsonCallsTest, Llama3) {
  ExpectAll(
      {"llama3_json"},
      {{"{\"name\": \"f\", \"parameters\": {\"a\": 1}}", "f{\"a\": 1}."},
       {"\n{\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}", "f{}."},
       {"{\"name\": \"f\", \"arguments\": {}}; {\"name\": \"g\", \"parameters\": {\"x\": {}}}",
        "f{}.g{\"x\": {}}."},
       {"<|python_tag|>{\"name\": \"f\", \"parameters\": {}};{\"name\": \"g\", \"parameters\": "
        "{}};",
        "f{}.g{}."},
       {"<|python_tag|>{\"name\": \"f\"}", "f{}."},
       {"{\"name\": \"f\", \"parameters\": {}} done", "f{}.text(done)"},
       // JSON that is an answer; and code for the interpreter.
       {"{\"name\": \"Bob\", \"age\": 5}", "text({\"name\": \"Bob\", \"age\": 5})"},
       {"{\"answer\": {\"name\": \"f\", \"parameters\": {}}}",
        "text({\"answer\": {\"name\": \"f\", \"parameters\": {}}})"},
       {"{\"name\": \"Bob\"}", "text({\"name\": \"Bob\"})"},
       {"See {\"name\": \"f\", \"parameters\": {}}",
        "text(See {\"name\": \"f\", \"parameters\": {}})"},
       {"<|python_tag|>print(1)", "text(<|python_tag|>print(1))"},
       {"{\"name\": \"f\", \"parameters\": {}}; {x", "f{}.text(; {x)"}});
}

TEST(JsonCallsTest, Arrays) {
  const std::string two =
      "[{\"name\": \"f\", \"arguments\": {\"a\": [1]}}, {\"name\": \"g\", \"arguments\": {}}]";
  const std::string both = "f{\"a\": [1]}.g{}.";
  ExpectAll({"phi4_mini_json"},
            {{"functools" + two, both},
             {"Sure: functools " + two + " ok", "text(Sure:)" + both + "text(  ok)"},
             {"functools.partial(f)", "text(functools.partial(f))"},
             {"functools[]", "text(functools[])"},
             {"functools{\"name\": \"f\"}", "text(functools{\"name\": \"f\"})"},
             {"functools[{\"name\": \"f\"} {\"name\": \"g\"}]", "f{}.text({\"name\": \"g\"}])"},
             {"functools[{\"name\": \"f\", \"arguments\": {}", "f{}."}});
  ExpectAll({"granite"},
            {{"<|tool_call|>" + two, both},
             {"<tool_call>" + two + "</tool_call>", both},
             {"<|tool_call|> {\"name\": \"f\", \"arguments\": {}}", "f{}."},
             {two, both},
             {"[1, 2]", "text([1, 2])"},
             {"[{\"name\": \"Bob\", \"age\": 2}]", "text([{\"name\": \"Bob\", \"age\": 2}])"}});
  ExpectAll({"mistral"},
            {{"[TOOL_CALLS]" + two, both},
             {"[TOOL_CALLS] " + two, both},
             {"[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}, \"id\": \"123456789\"}]", "f{}."},
             {"Well [TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": \"[\\\"]\"}}] x",
              "text(Well)f{\"a\": \"[\\\"]\"}.text(  x)"},
             {"[TOOL_CALLS][]", "text([TOOL_CALLS][])"},
             {"[TOOL_CALLS][x]", "text([TOOL_CALLS][x])"}});
}

TEST(JsonCallsTest, Ids) {
  const std::string two = "[{\"name\": \"f\"}, {\"name\": \"g\"}]";
  EXPECT_EQ(ParseCut({"mistral"}, "[TOOL_CALLS]" + two, nullptr, true),
            "f#aaaaaaaaa{}.g#bbbbbbbbb{}.");
  EXPECT_EQ(ParseCut({"phi4_mini_json"}, "functools" + two, nullptr, true),
            "f#call_" + std::string(24, 'a') + "{}.g#call_" + std::string(24, 'b') + "{}.");
}

}  // namespace
}  // namespace tidal
