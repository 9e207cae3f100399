// Families that write a name between markers and the arguments behind it.
#include <gtest/gtest.h>

#include <string>

#include "tests/server/reply/reply_test_util.h"

namespace tidal {
namespace {

TEST(NamedCallsTest, Mistral) {
  ExpectAll({"mistral"}, {{"[TOOL_CALLS]f[ARGS]{\"a\": 1}", "f{\"a\": 1}."},
                          {"[TOOL_CALLS]f{\"a\": 1}", "f{\"a\": 1}."},
                          {"[TOOL_CALLS]f[CALL_ID]123456789[ARGS]{\"a\": 1}", "f{\"a\": 1}."},
                          {"Hm. [TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]g[ARGS]{\"b\": {}}",
                           "text(Hm.)f{}.g{\"b\": {}}."},
                          {"[TOOL_CALLS]f[ARGS]{} then", "f{}.text(then)"},
                          {"[TOOL_CALLS]f[ARGS]{\"a\": \"x", "f{\"a\": \"x!"},
                          {"[TOOL_CALLS]", "text([TOOL_CALLS])"},
                          {"[TOOL_CALLS]f[ARGS]x", "text([TOOL_CALLS]f[ARGS]x)"},
                          {"[TOOL_CALLS]a b{}", "text([TOOL_CALLS]a b{})"},
                          {"[TOOL_CALLS]f[ARG}", "text([TOOL_CALLS]f[ARG})"},
                          {"[TOOL_CALLS]f[ARGS][TOOL_CALLS]g{}", "text([TOOL_CALLS]f[ARGS])g{}."}});
}

TEST(NamedCallsTest, DeepSeek) {
  const std::string f =
      "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": \"é\"}\n```"
      "<｜tool▁call▁end｜>";
  const std::string g =
      "<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜>";
  ExpectAll(
      {"deepseek_v3"},
      {{"<｜tool▁calls▁begin｜>" + f + "<｜tool▁calls▁end｜>", "f{\"a\": \"é\"}."},
       {"Ja.\n<｜tool▁calls▁begin｜>" + f + "\n" + g + "<｜tool▁calls▁end｜>",
        "text(Ja.)f{\"a\": \"é\"}.g{}."},
       {f + g, "f{\"a\": \"é\"}.g{}."},
       {"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n{\"a\":1}<"
        "｜tool▁call▁end｜>",
        "f{\"a\":1}."},
       {"<｜tool▁calls▁begin｜><｜tool▁calls▁end｜>",
        "text(<｜tool▁calls▁begin｜><｜tool▁calls▁end｜>)"},
       {"<｜tool▁calls▁begin｜>" + f + "<｜tool▁calls▁end｜> fin", "f{\"a\": \"é\"}.text(fin)"},
       {"<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\nnone",
        "text(<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\nnone)"}});
  ExpectAll(
      {"deepseek_v31"},
      {{"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜>"
        "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "f{\"a\": 1}.g{}."},
       {"<｜tool▁call▁begin｜>f<｜tool▁sep｜><｜tool▁call▁end｜>", "f{}."},
       {"<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1", "f{\"a\": 1!"},
       {"<｜tool", "text(<｜tool)"},
       {"<｜tool▁call▁begin｜>f g<｜tool▁sep｜>", "text(<｜tool▁call▁begin｜>f g<｜tool▁sep｜>)"}});
}

TEST(NamedCallsTest, Kimi) {
  const std::string f =
      "<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\": 1}"
      "<|tool_call_end|>";
  const std::string g =
      "<|tool_call_begin|>functions.ns.g:1<|tool_call_argument_begin|>{}<|tool_call_end|>";
  const auto parse = [](const std::string& reply) {
    return ParseCut({"kimi_k2", "kimi_k2"}, reply, nullptr, /*with_ids=*/true);
  };
  EXPECT_EQ(parse("<|tool_calls_section_begin|>" + f + g + "<|tool_calls_section_end|>"),
            "f#functions.f:0{\"a\": 1}.ns.g#functions.ns.g:1{}.");
  EXPECT_EQ(parse("Ok <|tool_calls_section_begin|> " + f + "\n<|tool_calls_section_end|> "),
            "text(Ok)f#functions.f:0{\"a\": 1}.");
  // Ids that are none.
  EXPECT_EQ(parse("<|tool_call_begin|> f <|tool_call_argument_begin|>{}<|tool_call_end|>"),
            "f#functions.f:0{}.");
  EXPECT_EQ(parse("<|tool_call_begin|>f:12<|tool_call_end|>"), "f#f:12{}.");
  // Calls end reasoning.
  EXPECT_EQ(parse("<think>hm <|tool_calls_section_begin|>" + f),
            "reasoning(hm)f#functions.f:0{\"a\": 1}.");
  EXPECT_EQ(parse("<|tool_calls_section_begin|>x"), "text(<|tool_calls_section_begin|>x)");
}

TEST(NamedCallsTest, MarkersThatAreSpecialTokens) {
  const auto options = [] {
    ReplyParserOptions made = OptionsOf({"deepseek_v31", "deepseek_v3"}, nullptr);
    made.special = MarkersOf(*made.calls);
    return made;
  };
  std::vector<ReplyPiece> pieces;
  {
    ReplyParser parser(options());
    parser.AppendText("Say <｜tool▁call▁begin｜>f<", &pieces);
    parser.AppendSpecialToken("<｜tool▁calls▁begin｜>", &pieces);
    parser.AppendSpecialToken("<｜tool▁call▁begin｜>", &pieces);
    parser.AppendText("f", &pieces);
    parser.AppendSpecialToken("<｜tool▁sep｜>", &pieces);
    parser.AppendText("{\"a\": \"<｜tool▁call▁end｜>\"", &pieces);
    parser.AppendSpecialToken("<pad>", &pieces);
    parser.AppendText("}", &pieces);
    parser.AppendSpecialToken("<｜tool▁call▁end｜>", &pieces);
    parser.AppendSpecialToken("<｜tool▁call▁begin｜>", &pieces);
    parser.AppendText("g", &pieces);
    parser.AppendSpecialToken("<｜tool▁sep｜>", &pieces);
    parser.AppendText("{\"b\": 1", &pieces);
    parser.AppendSpecialToken("<｜tool▁call▁end｜>", &pieces);
    parser.AppendSpecialToken("<｜tool▁calls▁end｜>", &pieces);
    parser.AppendSpecialToken("<pad>", &pieces);
    parser.AppendText("end", &pieces);
    parser.AppendSpecialToken("<eos>", &pieces);
    parser.Finish(&pieces);
  }
  EXPECT_EQ(Describe(pieces),
            "text(Say <｜tool▁call▁begin｜>f<)f{\"a\": \"<｜tool▁call▁end｜>\"}."
            "g{\"b\": 1!text(end)");
  pieces.clear();
  ReplyParserOptions keeping = options();
  keeping.keep_special_tokens = true;
  ReplyParser parser(std::move(keeping));
  parser.AppendSpecialToken("<pad>", &pieces);
  parser.AppendSpecialToken("<｜tool▁calls▁begin｜>", &pieces);
  parser.AppendText("x", &pieces);
  parser.AppendSpecialToken("<｜tool▁calls▁end｜>", &pieces);
  parser.Finish(&pieces);
  EXPECT_EQ(Describe(pieces), "text(<pad><｜tool▁calls▁begin｜>x<｜tool▁calls▁end｜>)");
}

}  // namespace
}  // namespace tidal
