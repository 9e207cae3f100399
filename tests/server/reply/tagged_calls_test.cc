// Families that write arguments as raw text between tags, and Python's.
#include <gtest/gtest.h>

#include <string>

#include "tests/server/reply/reply_test_util.h"

namespace tidal {
namespace {

constexpr char kSchema[] = R"({"type": "object", "properties": {
  "s": {"type": "string"}, "i": {"type": "integer"}, "n": {"type": ["number", "null"]},
  "b": {"type": "boolean"}, "o": {"type": "object"}, "l": {"type": "array"},
  "u": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "e": {"enum": [1, 2]},
  "r": {"$ref": "#/$defs/R"}, "any": {}}, "$defs": {"R": {"properties": {}}}})";

ArgumentTypes Types() {
  ArgumentTypes types;
  types.AddTool("f", kSchema);
  types.AddTool("broken", "{");
  return types;
}

std::string Coder(std::string_view key, std::string_view value) {
  return "<tool_call>\n<function=f>\n<parameter=" + std::string(key) + ">\n" + std::string(value) +
         "\n</parameter>\n</function>\n</tool_call>";
}

TEST(TaggedCallsTest, ValuesByTheirTypes) {
  const ArgumentTypes types = Types();
  const std::vector<std::array<std::string, 3>> cases = {
      {"s", "a \"b\"\n\\ \t<x> é", R"("a \"b\"\n\\ \t<x> é")"},
      {"s", "5", R"("5")"},
      {"s", "null", R"("null")"},
      {"s", "", R"("")"},
      {"s", "\n\n", R"("\n\n")"},
      {"s", "</parameter", R"("</parameter")"},
      {"s", "<parameter=i></function></tool_call>", R"("<parameter=i></function></tool_call>")"},
      {"i", "5", "5"},
      {"i", " -5 ", "-5"},
      {"i", "five", R"("five")"},
      {"i", "5 or 6", R"("5 or 6")"},
      {"i", "5}", R"("5}")"},
      {"i", "05", R"("05")"},
      {"i", "", R"("")"},
      {"i", "\"5\"", R"("\"5\"")"},
      {"i", "null", "null"},
      {"n", "1.5e3", "1.5e3"},
      {"n", "None", "null"},
      {"n", "true", R"("true")"},
      {"b", "true", "true"},
      {"b", "False", "false"},
      {"b", "Falsely", R"("Falsely")"},
      {"o", "{\"a\": [1, {}]}", "{\"a\": [1, {}]}"},
      {"o", "{\"a\": 1,}", R"("{\"a\": 1,}")"},
      {"o", "{\"a\": 1", R"("{\"a\": 1")"},
      {"o", "{\"a\": 1} x", R"("{\"a\": 1} x")"},
      {"o", "[1]", R"("[1]")"},
      {"l", "[\n1,\n\"</x>\"\n]", "[\n1,\n\"</x>\"\n]"},
      {"u", "5", "5"},
      {"u", "5 apples", R"("5 apples")"},
      {"u", "null", R"("null")"},
      {"e", "2", "2"},
      {"r", "{}", "{}"},
      {"any", "5", R"("5")"},
      {"unknown", "{}", R"("{}")"},
  };
  for (const auto& [key, value, json] : cases) {
    const std::string expected = "f{\"" + key + "\": " + json + "}.";
    EXPECT_EQ(ParseCut({"qwen3_coder"}, Coder(key, value), &types), expected);
    EXPECT_EQ(ParseCut({"glm45"},
                       "<tool_call>f\n<arg_key>" + key + "</arg_key>\n<arg_value>" + value +
                           "</arg_value>\n</tool_call>",
                       &types),
              value == "\n\n" ? "f{\"s\": \"\"}." : expected);
  }
}

TEST(TaggedCallsTest, QwenCoder) {
  const ArgumentTypes types = Types();
  const std::vector<ReplyCase> cases = {
      {"I will.\n\n<tool_call>\n<function=f>\n<parameter=s>\nx\n</parameter>\n<parameter=i>\n3\n"
       "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=g>\n</function>\n</"
       "tool_call>",
       "text(I will.)f{\"s\": \"x\", \"i\": 3}.g{}."},
      {"<function=f>\n<parameter=s>x</parameter></function>\n</tool_call> ok",
       "f{\"s\": \"x\"}.text(ok)"},
      {"<tool_call><function=f></function><function=g></function></tool_call>", "f{}.g{}."},
      {"<tool_call><function=f><parameter=s>x</parameter></tool_call>", "f{\"s\": \"x\"}."},
      {"<function=f><parameter=s>x</parameter>oops", "f{\"s\": \"x\"}!text(oops)"},
      {"<function=f><parameter=s>x</parameter><parameter=>", "f{\"s\": \"x\"}!text(<parameter=>)"},
      {"<function=f><parameter=s>abc</para", "f{\"s\": \"abc</para!"},
      {"<function=f><parameter=i>12", "f{\"i\": 12!"},
      {"<function=f><parameter=s>x</parameter>", "f{\"s\": \"x\"!"},
      {"<function=f>hello", "text(<function=f>hello)"},
      {"<function=a b>", "text(<function=a b>)"},
      {"<tool_call>\n{\"name\": \"f\"}", "text(<tool_call>\n{\"name\": \"f\"})"},
      {"<tool_call></tool_call>", "text(<tool_call></tool_call>)"},
      {"<function=f", "text(<function=f)"},
      {"<function=broken><parameter=s>1</parameter></function>", "broken{\"s\": \"1\"}."},
  };
  for (const char* name : {"qwen3_coder", "qwen3_xml"}) ExpectAll({name}, cases, &types);
}

TEST(TaggedCallsTest, Glm) {
  const ArgumentTypes types = Types();
  const std::vector<ReplyCase> cases = {
      {"<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>x</arg_value>\n<arg_key>l</arg_key>\n"
       "<arg_value>[1]</arg_value>\n</tool_call>\n<tool_call>g\n</tool_call>",
       "f{\"s\": \"x\", \"l\": [1]}.g{}."},
      {"Ok<tool_call>f<arg_key>s</arg_key><arg_value>a\nb</arg_value></tool_call>",
       "text(Ok)f{\"s\": \"a\\nb\"}."},
      {"<tool_call>g</tool_call>", "g{}."},
      {"<tool_call>hello world", "text(<tool_call>hello world)"},
      {"<tool_call></tool_call>", "text(<tool_call></tool_call>)"},
      {"<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>x", "f{\"s\": \"x!"},
      {"<tool_call>f\n<arg_key>s</arg_key>nothing",
       "text(<tool_call>f\n<arg_key>s</arg_key>nothing)"},
  };
  for (const char* name : {"glm45", "glm47"}) ExpectAll({name}, cases, &types);
}

TEST(PythonCallsTest, Literals) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"1", "1"},
      {"-1.5", "-1.5"},
      {"1_000", "1000"},
      {"1.", "1.0"},
      {".5", "0.5"},
      {"+5", "5"},
      {"1e3", "1e3"},
      {"True", "true"},
      {"False", "false"},
      {"None", "null"},
      {"true", "true"},
      {"'it'", "\"it\""},
      {"\"it's\"", "\"it's\""},
      {"''", "\"\""},
      {"'é'", "\"é\""},
      {R"('a\'b"\n\x41\u00e9\101\q')", R"("a'b\"\nAéA\\q")"},
      {R"('\U0001F600\ud83d')", R"("😀\ud83d")"},
      {R"('\0')", R"("\u0000")"},
      {R"('\7x')", R"("\u0007x")"},
      {"'''a'b\n\"c\"'''", R"("a'b\n\"c\"")"},
      {"\"\"\"\"\"\"", "\"\""},
      {"'''a''b'''", R"("a''b")"},
      {"[]", "[]"},
      {"[1, 'a', [2],]", "[1, \"a\", [2]]"},
      {"(1, 2)", "[1, 2]"},
      {"()", "[]"},
      {"{}", "{}"},
      {"{'a': {'b': None}, 1: 2}", "{\"a\": {\"b\": null}, \"1\": 2}"},
      {"[ {'k' : 'v' } , '' ]", "[{\"k\": \"v\"}, \"\"]"},
  };
  for (const auto& [literal, json] : cases) {
    EXPECT_EQ(ParseCut({"pythonic"}, "[f(a=" + literal + ", b = " + literal + ")]"),
              "f{\"a\": " + json + ", \"b\": " + json + "}.");
  }
  for (const std::string no :
       {"x", "1+2", "foo", "g()", "007", ".", "[", "1.2.3", "not", "=1", ")", "", "@"}) {
    EXPECT_EQ(ParseCut({"pythonic"}, "[f(a=" + no + ")]"),
              no == "[" ? "f{\"a\": [!text()])" : "text([f(a=" + no + ")])");
  }
}

TEST(PythonCallsTest, Calls) {
  const std::vector<ReplyCase> both = {
      {"[f(a=1), g()]", "f{\"a\": 1}.g{}."},
      {"\n[ns.f( a = 'x' , ), g( ) , ] ok", "ns.f{\"a\": \"x\"}.g{}.text(ok)"},
      {"[f()]", "f{}."},
      {"[link](http://x.y)", "text([link](http://x.y))"},
      {"[1, 2, 3]", "text([1, 2, 3])"},
      {"[]", "text([])"},
      {"[f(1)]", "text([f(1)])"},
      {"[f() + 1]", "text([f() + 1])"},
      {"[f(a=1", "text([f(a=1)"},
      {"[f(a=\"x", "f{\"a\": \"x!"},
      {"[f(a=1, b=c)]", "f{\"a\": 1}!text(b=c)])"},
      {"[f(a=1 2)]", "f{\"a\": 1}!text(2)])"},
      {"[f(a=1)] so", "f{\"a\": 1}.text(so)"},
      {"[f(a=1), oops]", "f{\"a\": 1}.text(, oops])"},
      {"See [f()]", "text(See [f()])"},
  };
  ExpectAll({"pythonic"}, both);
  ExpectAll({"llama4_pythonic"}, both);
  ExpectAll(
      {"llama4_pythonic"},
      {{"Hm <|python_start|>[f(a=1), g()]<|python_end|> so", "text(Hm)f{\"a\": 1}.g{}.text(  so)"},
       {"<|python_start|>[f()]<|python_end", "f{}."},
       {"<|python_start|>print(1)<|python_end|>", "text(<|python_start|>print(1)<|python_end|>)"}});
}

}  // namespace
}  // namespace tidal
