// Reasoning, streaming, and the bounds of what is held.
#include "server/reply/reply_parser.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/server/reply/reply_test_util.h"

namespace tidal {
namespace {

constexpr char kCall[] = "<tool_call>{\"name\": \"f\"}</tool_call>";

TEST(ReasoningTest, Think) {
  const std::string call = kCall;
  for (const char* name : {"qwen3", "deepseek_v3", "glm45", "mistral", "kimi_k2"}) {
    ExpectAll({"hermes", name},
              {{"<think>\nA b.\n\nC\n</think>\n\nYes. ", "reasoning(A b.\n\nC)text(Yes. )"},
               {"\n<think>a</think>" + call, "reasoning(a)f{}."},
               {"<think>\n\n</think>\n\nYes", "text(Yes)"},
               {"<think></think>" + call, "f{}."},
               {"<think>a</think>\n" + call + "\n<think>b</think>" + call,
                "reasoning(a)f{}.reasoning(b)f{}."},
               // Without an opening, because the prompt had both.
               {"</think>\n\nYes", "text(Yes)"},
               {"\n\nYes", "text(\n\nYes)"},
               // Only where no content came before.
               {"Write <think> and </think>.", "text(Write <think> and </think>.)"},
               {"<think>a</think>b</think>", "reasoning(a)text(b</think>)"},
               {"<think>a <think> b</think>", "reasoning(a <think> b)"},
               // What does not end.
               {"<think>a </thin", "reasoning(a </thin)"},
               {"<think>", ""},
               {"<think>\n", ""},
               {"<thin", "text(<thin)"}});
    ExpectAll({"hermes", name, /*starts_in_reasoning=*/true},
              {{"A\n</think>\n\nYes", "reasoning(A)text(Yes)"},
               {"\n<think>\nA</think>Yes", "reasoning(A)text(Yes)"},
               {"</think>Yes", "text(Yes)"},
               {"A <", "reasoning(A <)"}});
  }
  for (const char* name : {"qwen3", "deepseek_r1", "mistral"}) {
    EXPECT_EQ(ParseCut({"hermes", name}, "<think>" + call + "</think>" + call),
              "reasoning(" + call + ")f{}.");
  }
}

TEST(ReasoningTest, FamiliesOfTheirOwn) {
  ExpectAll({"", "deepseek_r1"}, {{"A</think>Yes", "reasoning(A)text(Yes)"},
                                  {"<think>A</think>Yes", "reasoning(A)text(Yes)"},
                                  {"A <think> B", "reasoning(A <think> B)"}});
  ExpectAll({"mistral", "mistral"},
            {{"[THINK]a </think> [x][/THINK] [TOOL_CALLS]f{}", "reasoning(a </think> [x])f{}."},
             {"[THI", "text([THI)"}});
  EXPECT_EQ(ParseCut({"mistral", "mistral", true}, "a[/THINK]b"), "reasoning(a)text(b)");
  ExpectAll({"granite", "granite"},
            {{"Here is my thought process: a Here is my response: b", "reasoning(a)text(b)"},
             {"Here's my thought process:\na\n\nHere's my response:\n[{\"name\": \"f\", "
              "\"arguments\": {}}]",
              "reasoning(a)f{}."},
             {"Here is my answer", "text(Here is my answer)"}});
  // A block of calls that no marker begins, where a reasoning marker might.
  ExpectAll({"pythonic", "mistral"}, {{"[f()]", "f{}."},
                                      {"[THINK]a[/THINK][T(a=1)]", "reasoning(a)T{\"a\": 1}."},
                                      {"[THIN(a=1)]", "THIN{\"a\": 1}."},
                                      {"[", "text([)"}});
}

TEST(ReasoningTest, SpecialTokens) {
  ReplyParserOptions options = OptionsOf({"hermes", "qwen3"}, nullptr);
  options.special = {"<think>", "</think>"};
  ReplyParser parser(std::move(options));
  std::vector<ReplyPiece> pieces;
  parser.AppendSpecialToken("<think>", &pieces);
  EXPECT_TRUE(parser.in_reasoning());
  parser.AppendText("is </think> ", &pieces);
  parser.AppendSpecialToken("<pad>", &pieces);
  parser.AppendText("text</", &pieces);
  parser.AppendSpecialToken("</think>", &pieces);
  EXPECT_FALSE(parser.in_reasoning());
  parser.AppendText("<tool", &pieces);
  parser.AppendSpecialToken("</think>", &pieces);
  parser.AppendText("_call>", &pieces);
  parser.Finish(&pieces);
  EXPECT_EQ(Describe(pieces), "reasoning(is </think> text</)text(<tool_call>)");
}

// What came by the time all of `reply` is in, but not its end.
std::string Streamed(const FormatNames& names, const std::string& reply,
                     const ArgumentTypes* types = nullptr) {
  ReplyParser parser(OptionsOf(names, types));
  std::vector<ReplyPiece> pieces;
  parser.AppendText(reply, &pieces);
  return Describe(pieces);
}

TEST(StreamingTest, NothingWaitsForTheEnd) {
  ArgumentTypes types;
  types.AddTool("f", R"({"properties": {"i": {"type": "integer"}, "l": {"type": "array"}}})");
  const std::string text(5000, 'x');
  EXPECT_EQ(Streamed({"hermes", "qwen3"}, "<think>abc"), "reasoning(abc)");
  EXPECT_EQ(Streamed({"hermes"}, "abc <"), "text(abc)");
  const std::string hermes = "<tool_call>{\"name\": \"f\", \"arguments\": {";
  EXPECT_EQ(Streamed({"hermes"}, hermes), "f{");
  EXPECT_EQ(Streamed({"hermes"}, hermes + "\"a\": \"" + text), "f{\"a\": \"" + text);
  EXPECT_EQ(Streamed({"llama3_json"}, "{\"name\": \"f\", \"parameters\": {\"a"), "f{\"a");
  EXPECT_EQ(Streamed({"llama3_json"}, "{\"answer\":"), "text({\"answer\":)");
  EXPECT_EQ(Streamed({"phi4_mini_json"}, "functools[{\"name\": \"f\", \"arguments\": {\"a"),
            "f{\"a");
  EXPECT_EQ(Streamed({"mistral"}, "[TOOL_CALLS]f[ARGS]{\"a"), "f{\"a");
  EXPECT_EQ(Streamed({"deepseek_v31"}, "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a"), "f{\"a");
  EXPECT_EQ(Streamed({"qwen3_coder"}, "<function=f><parameter=s>" + text), "f{\"s\": \"" + text);
  EXPECT_EQ(Streamed({"qwen3_coder"}, "<function=f><parameter=s>a\nb\n"), "f{\"s\": \"a\\nb");
  EXPECT_EQ(Streamed({"qwen3_coder"}, "<function=f><parameter=i>ab", &types), "f{\"i\": \"ab");
  EXPECT_EQ(Streamed({"qwen3_coder"}, "<function=f><parameter=i>12", &types), "f{\"i\": ");
  // So long that it goes on as the array it seems to be.
  EXPECT_EQ(Streamed({"glm45"}, "<tool_call>f<arg_key>l</arg_key><arg_value>[\"" + text, &types),
            "f{\"l\": [\"" + text);
  EXPECT_EQ(Streamed({"pythonic"}, "[f(a='" + text), "f{\"a\": \"" + text);
  EXPECT_EQ(Streamed({"pythonic"}, "[f(a=1, b=[{'c': 2"), "f{\"a\": 1, \"b\": [{\"c\": ");
}

TEST(BoundsTest, WhatIsHeld) {
  struct Case {
    std::string calls, begin, unit, end;
  };
  const size_t most = 3 * ReplyParser::kMaxHeld;
  for (const Case& c : std::vector<Case>{
           {"hermes", "<tool_call>{\"arguments\": {\"a\": \"", "x", "\"}, \"name\": \"f\"}"},
           {"hermes", "<tool_call>{\"id\": \"", "x", "\", \"name\": \"f\"}"},
           {"hermes", "<tool_call>", " ", "{\"name\": \"f\"}"},
           {"hermes", "a", "\n", "b"},
           {"hermes", "<tool_call>{\"name\": \"", "x", "\"}"},
           {"mistral", "[TOOL_CALLS]", "x", "{}"},
           {"pythonic", "[", "x", "()]"},
           {"pythonic", "[f(a=1", "1", ")]"},
           {"qwen3_coder", "<function=", "f", ">"},
           {"glm45", "<tool_call>f", "\n", "</tool_call>"}}) {
    ReplyParser parser(OptionsOf({c.calls}, nullptr));
    std::vector<ReplyPiece> pieces;
    std::string reply = c.begin;
    parser.AppendText(c.begin, &pieces);
    while (reply.size() < 2 * ReplyParser::kMaxHeld) {
      parser.AppendText(c.unit, &pieces);
      reply += c.unit;
      ASSERT_LE(parser.held_bytes(), most);
    }
    parser.AppendText(c.end, &pieces);
    parser.Finish(&pieces);
    EXPECT_EQ(Describe(pieces), "text(" + reply + c.end + ")") << c.begin;
  }
}

TEST(BoundsTest, NumberOfCalls) {
  std::string reply, expected;
  for (int i = 0; i < PieceWriter::kMaxCalls; ++i) {
    reply += kCall;
    expected += "f{}.";
  }
  const std::string rest = std::string(kCall) + " and " + kCall;
  EXPECT_EQ(Describe(Parse(OptionsOf({"hermes"}, nullptr), {reply + rest})),
            expected + "text(" + rest + ")");
}

TEST(BoundsTest, Depth) {
  const auto nested = [](int depth) {
    return "{\"a\": " + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
  };
  EXPECT_EQ(ParseCut({"mistral"}, "[TOOL_CALLS]f" + nested(64)), "f" + nested(64) + ".");
  const std::string cut = nested(65);
  const size_t at = cut.rfind('[');
  EXPECT_EQ(ParseCut({"mistral"}, "[TOOL_CALLS]f" + cut),
            "f" + cut.substr(0, at) + "!text(" + cut.substr(at) + ")");
  EXPECT_EQ(ParseCut({"pythonic"}, "[f(a=" + std::string(64, '[') + std::string(64, ']') + ")]"),
            "f{\"a\": " + std::string(64, '[') + std::string(64, ']') + "}.");
}

TEST(FormatsTest, NoMarkerHidesAnother) {
  for (const CallFormat& format : CallFormats()) {
    EXPECT_EQ(FindCallFormat(format.name), &format);
    std::vector<std::string> markers = format.opens;
    markers.insert(markers.end(), format.closes.begin(), format.closes.end());
    for (const std::string& a : markers) {
      for (const std::string& b : markers) EXPECT_TRUE(a == b || !a.starts_with(b)) << a;
    }
  }
  for (const ReasoningFormat& format : ReasoningFormats()) {
    EXPECT_EQ(FindReasoningFormat(format.name), &format);
  }
  EXPECT_EQ(FindCallFormat("none"), nullptr);
  EXPECT_EQ(FindReasoningFormat(""), nullptr);
}

}  // namespace
}  // namespace tidal
