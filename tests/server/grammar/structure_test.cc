#include "server/grammar/structure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "server/grammar/schema_check.h"
#include "server/reply/argument_types.h"
#include "server/reply/reply_parser.h"
#include "tests/server/grammar/grammar_walk.h"

namespace tidal {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;

constexpr char kWeather[] = R"({
  "type": "object", "required": ["city"], "additionalProperties": false,
  "properties": {"city": {"type": "string", "pattern": "^[A-Z][a-z]{1,5}$"},
                 "days": {"type": "integer", "minimum": 1, "maximum": 99},
                 "hourly": {"type": "boolean"}}})";
constexpr char kNoArguments[] =
    R"({"type": "object", "properties": {}, "additionalProperties": false})";

std::vector<CallableTool> Tools(bool strict = false) {
  return {{"get_weather", Json::parse(kWeather), strict},
          {"now", Json::parse(kNoArguments), strict}};
}

StructureParts Parts() {
  StructureParts parts;
  parts.tokenizer = &WalkTokenizer();
  parts.stop_tokens = {kWalkEnd};
  return parts;
}

std::shared_ptr<const CompiledStructure> Compile(const StructureParts& parts) {
  const std::optional<std::string> tag = StructureOf(parts);
  EXPECT_TRUE(tag.has_value());
  auto compiled = WalkLibrary().Compile(tag.value_or("{}"));
  EXPECT_TRUE(compiled.ok()) << compiled.status() << "\n" << tag.value_or("");
  return compiled.ok() ? *compiled : nullptr;
}

struct ParsedCall {
  std::string name, arguments;
};

// What the family's reader finds; anything else in the text fails.
std::vector<ParsedCall> ReadCalls(const CallFormat& format, const SpecialMarkers& special,
                                  const std::vector<TokenId>& tokens) {
  ArgumentTypes types;
  types.AddTool("get_weather", kWeather);
  ReplyParserOptions options;
  options.calls = &format;
  options.special = special;
  options.types = &types;
  options.random = [](int count) { return std::string(count, 'i'); };
  ReplyParser parser(std::move(options));
  std::vector<ReplyPiece> pieces;
  for (const TokenId token : tokens) {
    if (WalkTokenizer().IsSpecial(token)) {
      parser.AppendSpecialToken(WalkTokenizer().WrittenToken(token), &pieces);
    } else {
      parser.AppendText(WalkTokenizer().TokenBytes(token), &pieces);
    }
  }
  parser.Finish(&pieces);
  std::vector<ParsedCall> calls;
  for (const ReplyPiece& piece : pieces) {
    EXPECT_FALSE(piece.broken_off);
    EXPECT_NE(piece.kind, ReplyPieceKind::kReasoning);
    if (piece.kind == ReplyPieceKind::kContent) ADD_FAILURE() << "content: " << piece.text;
    if (piece.kind == ReplyPieceKind::kCallBegin) calls.push_back({piece.name, ""});
    if (piece.kind == ReplyPieceKind::kCallArguments) calls.back().arguments += piece.text;
  }
  return calls;
}

void ExpectFits(const ParsedCall& call, const std::string& text) {
  SCOPED_TRACE(text);
  const Json arguments = Json::parse(call.arguments, nullptr, false);
  ASSERT_TRUE(arguments.is_object()) << call.arguments;
  if (call.name == "now") {
    EXPECT_TRUE(arguments.empty());
    return;
  }
  ASSERT_EQ(call.name, "get_weather");
  ASSERT_TRUE(arguments.contains("city")) << call.arguments;
  // Of raw text between tags, space beside it is the model's own.
  const std::string city(absl::StripAsciiWhitespace(arguments["city"].get<std::string>()));
  EXPECT_THAT(city, ::testing::MatchesRegex("[A-Z][a-z]{1,5}"));
  for (const auto& [key, value] : arguments.items()) {
    if (key == "days") {
      EXPECT_TRUE(value.is_number_integer() && value >= 1 && value <= 99) << value;
    } else if (key == "hourly") {
      EXPECT_TRUE(value.is_boolean()) << value;
    }
  }
}

// Whatever a model would say: what a family's structure allows, its reader finds calls in.
TEST(StructureTest, RequiredCallsOfEveryFamilyAreRead) {
  for (const CallFormat& format : CallFormats()) {
    for (const bool single : {false, true}) {
      StructureParts parts = Parts();
      parts.calls = &format;
      parts.tools = Tools();
      parts.calls_required = true;
      parts.single_call = single;
      SCOPED_TRACE(format.name + (single ? ", single" : ""));
      const auto structure = Compile(parts);
      ASSERT_NE(structure, nullptr);
      std::set<std::string> names;
      size_t most = 0;
      for (uint32_t seed = 0; seed < 12 && !HasFatalFailure(); ++seed) {
        const std::vector<TokenId> tokens = Walk(*structure, seed, 2000, {kWalkEnd});
        const std::vector<ParsedCall> calls = ReadCalls(format, {}, tokens);
        ASSERT_FALSE(calls.empty()) << TextOf(tokens);
        for (const ParsedCall& call : calls) {
          ExpectFits(call, TextOf(tokens));
          names.insert(call.name);
        }
        most = std::max(most, calls.size());
      }
      EXPECT_EQ(names.size(), 2u);
      EXPECT_TRUE(!single || most == 1) << most;
    }
  }
}

TEST(StructureTest, MarkersThatAreSpecialTokensAreTheseTokens) {
  CallFormat format = *FindCallFormat("hermes");
  format.opens = {"<|user|>"};
  format.closes = {"<|assistant|>"};
  StructureParts parts = Parts();
  parts.calls = &format;
  parts.tools = Tools();
  parts.calls_required = true;
  parts.special = {"<|user|>", "<|assistant|>"};
  const auto structure = Compile(parts);
  ASSERT_NE(structure, nullptr);
  for (uint32_t seed = 0; seed < 8; ++seed) {
    const std::vector<TokenId> tokens = Walk(*structure, seed, 2000, {kWalkEnd});
    ASSERT_FALSE(tokens.empty());
    EXPECT_EQ(tokens.front(), 4);
    EXPECT_EQ(tokens.back(), 5);
    for (const ParsedCall& call : ReadCalls(format, parts.special, tokens)) {
      ExpectFits(call, TextOf(tokens));
    }
  }
}

TEST(StructureTest, StrictToolsAreHeldToTheirSchemasInFreeText) {
  for (const char* name : {"hermes", "qwen3_coder", "glm45", "deepseek_v31", "kimi_k2", "mistral",
                           "phi4_mini_json", "llama4_pythonic"}) {
    SCOPED_TRACE(name);
    StructureParts parts = Parts();
    parts.calls = FindCallFormat(name);
    parts.tools = Tools();
    EXPECT_FALSE(StructureOf(parts).has_value()) << "nothing is asked for";
    parts.tools = Tools(/*strict=*/true);
    const auto structure = Compile(parts);
    ASSERT_NE(structure, nullptr);
    EXPECT_TRUE(Accepts(*structure, "Just words. And more of them"));
    EXPECT_TRUE(Allows(MaskOf(*structure->MakeConstraint(0)), 4)) << "as without a structure";
    const CallWriting writing = WritingOf(*parts.calls, {});
    const std::string begin = "Well: " + writing.block_begin + writing.before_name;
    EXPECT_FALSE(Accepts(*structure, begin + "delete_all" + writing.after_name));
  }
}

TEST(StructureTest, AnAnswerComesBehindTheReasoning) {
  StructureParts parts = Parts();
  parts.answer = Json{{"type", "regex"}, {"pattern", "[0-9]{3}"}};
  auto structure = Compile(parts);
  EXPECT_TRUE(Accepts(*structure, "123"));
  EXPECT_FALSE(Accepts(*structure, "12"));
  parts.reasoning = FindReasoningFormat("qwen3");
  structure = Compile(parts);
  EXPECT_TRUE(Accepts(*structure, "<think>\n12, or {\"a\": no}?\n</think>\n\n123"));
  EXPECT_TRUE(Accepts(*structure, "123")) << "a model may not think";
  EXPECT_FALSE(Accepts(*structure, "<think>\n12\n</think>\n\nwords"));
  EXPECT_FALSE(Accepts(*structure, "<think>\n123"));
  parts.starts_in_reasoning = true;
  structure = Compile(parts);
  EXPECT_TRUE(Accepts(*structure, "Hm. 12?\n</think>\n\n123"));
  EXPECT_FALSE(Accepts(*structure, "123")) << "it is still thinking";
  parts.starts_in_reasoning = false;
  parts.reasoning = FindReasoningFormat("deepseek_r1");
  structure = Compile(parts);
  EXPECT_TRUE(Accepts(*structure, "Hm.</think>123"));
  EXPECT_TRUE(Accepts(*structure, "<think>Hm.</think>123"));
}

TEST(StructureTest, ReasoningBetweenSpecialTokens) {
  const ReasoningFormat format = {.name = "special", .markers = {{"<|user|>", "<|system|>"}}};
  StructureParts parts = Parts();
  parts.answer = Json{{"type", "const_string"}, {"value", "42"}};
  parts.reasoning = &format;
  parts.special = {"<|user|>", "<|system|>"};
  const auto structure = Compile(parts);
  for (const auto& [text, fits] :
       {std::pair("<|user|>I think<|system|>42", true), std::pair("42", true),
        std::pair("<|user|>I think 42", false), std::pair("<|user|>I<|system|>43", false)}) {
    EXPECT_EQ(Accepts(*structure, text), fits) << text;
  }
}

TEST(StructureTest, AReasoningBudgetEndsIt) {
  StructureParts parts = Parts();
  parts.reasoning = FindReasoningFormat("qwen3");
  parts.starts_in_reasoning = true;
  EXPECT_FALSE(StructureOf(parts).has_value());
  for (const int budget : {0, 1, 7}) {
    parts.reasoning_budget = budget;
    const auto structure = Compile(parts);
    ASSERT_NE(structure, nullptr);
    for (uint32_t seed = 0; seed < 5; ++seed) {
      const std::vector<TokenId> tokens = Walk(*structure, seed, 60);
      const std::string text = TextOf(tokens);
      const size_t end = text.find("</think>");
      ASSERT_NE(end, std::string::npos) << text;
      const auto constraint = structure->MakeConstraint(0);
      int thought = 0;
      std::string before;
      for (const TokenId token : tokens) {
        before += WalkTokenizer().TokenBytes(token);
        if (before.size() > end) break;
        ++thought;
      }
      EXPECT_LE(thought, budget) << text;
    }
  }
}

// Its letters would do for the grammar, and mean nothing to the model.
TEST(StructureTest, ReasoningEndsWithTheTokenThatThereIs) {
  const ReasoningFormat words = {.name = "words", .markers = {{"and", "the"}}};
  const std::optional<TokenId> end = WalkTokenizer().TokenToId("the");
  ASSERT_TRUE(end.has_value());
  StructureParts parts = Parts();
  parts.reasoning = &words;
  parts.starts_in_reasoning = true;
  parts.reasoning_budget = 2;
  const auto structure = Compile(parts);
  ASSERT_NE(structure, nullptr);
  for (uint32_t seed = 0; seed < 10; ++seed) {
    std::vector<TokenId> tokens = Walk(*structure, seed, 20);
    tokens.resize(3);
    EXPECT_THAT(tokens, ::testing::Contains(*end)) << TextOf(tokens);
  }
}

// Of a model that begins it itself, and may leave it out.
TEST(StructureTest, ABudgetHoldsForReasoningThatIsNotBegunYet) {
  const ReasoningFormat special = {.name = "special", .markers = {{"<|user|>", "<|system|>"}}};
  StructureParts parts = Parts();
  parts.reasoning_budget = 2;
  parts.reasoning = &special;
  parts.special = {"<|user|>", "<|system|>"};
  const auto structure = Compile(parts);
  ASSERT_NE(structure, nullptr);
  EXPECT_TRUE(Accepts(*structure, "A plain answer, as long as it likes to be."));
  EXPECT_TRUE(Accepts(*structure, "<|user|>I<|system|>So it is; but is it <|user|>?"));
  EXPECT_FALSE(Accepts(*structure, "<|user|>I think, and think, and think, and think"));

  parts.special = {};
  parts.reasoning = FindReasoningFormat("qwen3");  // whose markers are several tokens here
  const auto text = Compile(parts);
  EXPECT_TRUE(Accepts(*text, "A plain answer, as long as it likes to be."));
  EXPECT_TRUE(Accepts(*text, "<think>I</think>A plain answer, as long as it likes to be."));
  EXPECT_FALSE(Accepts(*text, "<think>I think, and think, and think, and think</think>No."));

  parts.tools = Tools(/*strict=*/true);
  parts.calls = FindCallFormat("hermes");
  const auto calls = Compile(parts);
  EXPECT_TRUE(Accepts(*calls,
                      "Let me look: <tool_call>\n{\"name\": \"now\", \"arguments\": {}}"
                      "\n</tool_call>"));
  EXPECT_FALSE(Accepts(*calls, "<think>I think, and think, and think, and think</think>No."));
}

TEST(StructureTest, AnAnswerOrCalls) {
  StructureParts parts = Parts();
  parts.answer = Json{{"type", "const_string"}, {"value", "{\"done\": true}"}};
  parts.calls = FindCallFormat("hermes");
  parts.tools = Tools(true);
  const auto structure = Compile(parts);
  EXPECT_TRUE(Accepts(*structure, "{\"done\": true}"));
  EXPECT_TRUE(
      Accepts(*structure, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"));
  EXPECT_FALSE(Accepts(*structure, "words"));
}

v1::StructuredOutput Wanted(const std::function<void(v1::StructuredOutput&)>& set) {
  v1::StructuredOutput wanted;
  set(wanted);
  return wanted;
}

TEST(StructureTest, AnswersOfEveryKind) {
  struct Case {
    v1::StructuredOutput wanted;
    std::vector<std::string> accepted, refused;
  };
  const std::vector<Case> cases = {
      {Wanted([](auto& w) { w.set_json_object(true); }),
       {"{}", R"({"a": [1, {"b": null}]})"},
       {"[]", "1", "{"}},
      {Wanted([](auto& w) { w.set_json_schema(R"({"type": "integer", "minimum": 5})"); }),
       {"5", "17"},
       {"4", "\"5\""}},
      {Wanted([](auto& w) {
         w.set_json_schema(R"({"type": "array", "items": {"type": "null"}})");
         w.set_compact(true);
       }),
       {"[null,null]"},
       {"[null, null]"}},
      {Wanted([](auto& w) { w.set_regex("(ab)+c?"); }), {"ab", "ababc"}, {"abca", "c"}},
      {Wanted([](auto& w) {
         w.mutable_choice()->add_texts("yes");
         w.mutable_choice()->add_texts("yes, please");
       }),
       {"yes", "yes, please"},
       {"no", "yes,"}},
      {Wanted([](auto& w) { w.set_grammar("root ::= \"<\" [a-z]* \">\""); }),
       {"<>", "<ab>"},
       {"<"}},
      {Wanted([](auto& w) {
         w.set_structural_tag(R"({"type": "structural_tag", "format": {"type": "tag",
             "begin": "<n>", "content": {"type": "json_schema", "json_schema": {"const": 7}},
             "end": "</n>"}})");
       }),
       {"<n>7</n>"},
       {"<n>8</n>", "7"}}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.wanted.ShortDebugString());
    const auto format = AnswerFormat(c.wanted);
    ASSERT_TRUE(format.ok()) << format.status();
    StructureParts parts = Parts();
    parts.answer = *format;
    const auto structure = Compile(parts);
    ASSERT_NE(structure, nullptr);
    for (const std::string& text : c.accepted) EXPECT_TRUE(Accepts(*structure, text)) << text;
    for (const std::string& text : c.refused) EXPECT_FALSE(Accepts(*structure, text)) << text;
  }
}

TEST(StructureTest, BadAnswersAreNamed) {
  const std::vector<std::pair<v1::StructuredOutput, std::string>> cases = {
      {v1::StructuredOutput(), "structured_output: must name what is wanted"},
      {Wanted([](auto& w) { w.set_json_schema("{"); }), "structured_output.json_schema: must be"},
      {Wanted([](auto& w) { w.set_regex("a{1,100000}"); }), "structured_output.regex: must come"},
      {Wanted([](auto& w) { w.set_grammar(""); }), "structured_output.grammar: must have 1"},
      {Wanted([](auto& w) { w.mutable_choice(); }), "structured_output.choice: must have 1"},
      {Wanted([](auto& w) { w.mutable_choice()->add_texts(""); }),
       "structured_output.choice.texts[0]: must not be empty"},
      {Wanted([](auto& w) { w.set_structural_tag("[]"); }), "structured_output.structural_tag: "},
      {Wanted([](auto& w) {
         w.set_structural_tag(R"({"format": {"type": "or", "elements": [{"type": "regex",
             "pattern": "(a{99}){99}"}]}})");
       }),
       "structured_output.structural_tag: must come to"}};
  for (const auto& [wanted, message] : cases) {
    const auto format = AnswerFormat(wanted);
    ASSERT_FALSE(format.ok()) << wanted.ShortDebugString();
    EXPECT_EQ(format.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(format.status().message()), HasSubstr(message));
  }
}

}  // namespace
}  // namespace tidal
