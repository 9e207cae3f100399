#include "server/reply/detect_format.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "server/reply/characters.h"
#include "server/reply/reply_parser.h"
#include "server/text/concat.h"
#include "server/text/jinja/value.h"

namespace tidal {
namespace {

constexpr char kToolName[] = "probe_tool", kKey[] = "probe_key", kValue[] = "probe_value";
constexpr char kCallId[] = "probe0001";  // nine characters, as Mistral's templates demand

jinja::Value DictOf(const std::vector<std::pair<std::string, jinja::Value>>& entries) {
  auto dict = std::make_shared<jinja::Dict>();
  for (const auto& [key, value] : entries) dict->SetName(key, value);
  return jinja::Value(jinja::DictPtr(std::move(dict)));
}

// The first rule whose markers are all there says the format; a rule for a family that shares
// markers with others comes before theirs.
struct Rule {
  std::string_view format;
  std::vector<std::string_view> markers;
};

const std::vector<Rule>& CallRules() {
  static const auto* const rules = new std::vector<Rule>{
      {"kimi_k2", {"<|tool_call_argument_begin|>"}},
      {"deepseek_v3", {"<｜tool▁sep｜>", "```json"}},
      {"deepseek_v31", {"<｜tool▁sep｜>"}},
      {"glm45", {"<arg_key>", "<arg_value>"}},
      {"qwen3_coder", {"<function=", "<parameter="}},
      {"mistral", {"[TOOL_CALLS]"}},
      {"phi4_mini_json", {"functools"}},
      {"phi4_mini_json", {"<|tool|>", "<|/tool|>"}},
      {"granite4", {"<|start_of_role|>", "<tool_call>", "</tool_call>"}},
      {"granite", {"<|start_of_role|>", "<|tool_call|>"}},
      {"granite", {"<|start_of_role|>", "<tool_call>"}},
      {"llama4_pythonic", {"<|python_start|>"}},
      {"hermes", {"<tool_call>"}},
      {"pythonic", {"[probe_tool("}},
      {"llama3_json", {"{\"name\": \"probe_tool\", \"parameters\":"}},
      {"llama3_json", {"<|python_tag|>"}},
      {"llama3_json", {"<|start_header_id|>", "\"parameters\": "}},
  };
  return *rules;
}

bool Holds(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Whether the family's parser finds the probe's call in this text.
bool FindsCall(const CallFormat& format, std::string_view text) {
  ReplyParserOptions options;
  options.calls = &format;
  options.random = [](int count) { return std::string(count, 'x'); };
  ReplyParser parser(std::move(options));
  std::vector<ReplyPiece> pieces;
  parser.AppendText(text, &pieces);
  parser.Finish(&pieces);
  return std::any_of(pieces.begin(), pieces.end(), [](const ReplyPiece& piece) {
    return piece.kind == ReplyPieceKind::kCallArguments && Holds(piece.text, kValue);
  });
}

bool ReadsBack(const CallFormat& format, std::string_view probe) {
  if (FindsCall(format, probe)) return true;
  if (format.bare == 0) return false;
  // Without a marker a call is one at a reply's beginning alone.
  const size_t begin = probe.rfind(format.bare, probe.rfind(kToolName, probe.find(kValue)));
  return begin != std::string_view::npos && FindsCall(format, probe.substr(begin));
}

const Rule* FirstRule(std::string_view text, bool must_read_back) {
  for (const Rule& rule : CallRules()) {
    const auto is_there = [&](std::string_view marker) { return Holds(text, marker); };
    if (!std::all_of(rule.markers.begin(), rule.markers.end(), is_there)) continue;
    if (!must_read_back || ReadsBack(*FindCallFormat(rule.format), text)) return &rule;
  }
  return nullptr;
}

const CallFormat* FindCalls(std::string_view probe, std::string_view source, std::string* reason) {
  // A template that does not know calls leaves the value out.
  const Rule* rule = nullptr;
  std::string_view found;
  if (Holds(probe, kValue)) {
    rule = FirstRule(probe, /*must_read_back=*/true);
    found = ": a rendered call has ";
    if (rule == nullptr) {
      rule = FirstRule(probe, /*must_read_back=*/false);
      found = ": by a rendered call, which was not read back, with ";
    }
  }
  if (rule == nullptr) {
    rule = FirstRule(source, /*must_read_back=*/false);
    found = ": the template has ";
  }
  if (rule == nullptr) {
    *reason = "tool calls: no known marker";
    return nullptr;
  }
  *reason = Concat("tool calls ", rule->format, found, rule->markers.front());
  return FindCallFormat(rule->format);
}

// The families that write <think> differ in what surrounds it.
std::string_view ThinkFormat(const CallFormat* calls, std::string_view source) {
  const std::string_view name = calls == nullptr ? std::string_view() : calls->name;
  if (name == "kimi_k2" || name == "glm45") return name;
  if (name == "deepseek_v31") return "deepseek_v3";
  if (Holds(source, "<｜Assistant｜>")) return "deepseek_r1";
  return "qwen3";
}

}  // namespace

ChatTemplateInput ProbeConversation(bool arguments_as_text) {
  ChatTemplateInput input;
  const jinja::Value property = DictOf({{"type", "string"}, {"description", "A key."}});
  const jinja::Value parameters =
      DictOf({{"type", "object"}, {"properties", DictOf({{kKey, property}})}});
  input.tools = {DictOf(
      {{"type", "function"},
       {"function",
        DictOf({{"name", kToolName}, {"description", "A tool."}, {"parameters", parameters}})}})};
  ChatTurn user{.role = "user", .content = {"Call the tool."}};
  ChatTurn call{.role = "assistant", .content = {}};
  const jinja::Value arguments = arguments_as_text
                                     ? jinja::Value(Concat("{\"", kKey, "\": \"", kValue, "\"}"))
                                     : DictOf({{kKey, kValue}});
  call.tool_calls = {
      DictOf({{"id", kCallId},
              {"type", "function"},
              {"function", DictOf({{"name", kToolName}, {"arguments", arguments}})}})};
  ChatTurn result{.role = "tool", .content = {"Done."}, .name = kToolName};
  result.tool_call_id = kCallId;
  input.messages = {std::move(user), std::move(call), std::move(result)};
  return input;
}

DetectedFormat DetectReplyFormat(std::string_view probe, std::string_view source) {
  DetectedFormat found;
  found.calls = FindCalls(probe, source, &found.reason);

  std::string_view reasoning, marker;
  for (const auto& [format, its_marker] :
       {std::pair{"mistral", "[THINK]"}, {"granite", "my thought process:"}}) {
    if (!Holds(source, its_marker) && !Holds(probe, its_marker)) continue;
    reasoning = format;
    marker = its_marker;
    break;
  }
  if (reasoning.empty() && (Holds(source, "think>") || Holds(probe, "<think>"))) {
    reasoning = ThinkFormat(found.calls, source);
    marker = "<think>";
  }
  found.reasoning = FindReasoningFormat(reasoning);
  if (found.reasoning == nullptr) {
    found.reason += "; reasoning: no known marker";
  } else {
    found.reason += Concat("; reasoning ", reasoning, ": the template has ", marker);
  }
  return found;
}

DetectedFormat DetectReplyFormat(const ChatTemplate& chat_template) {
  absl::StatusOr<std::string> probe = chat_template.Render(ProbeConversation());
  if (!probe.ok()) probe = chat_template.Render(ProbeConversation(/*arguments_as_text=*/true));
  const std::string text = probe.ok() ? *std::move(probe) : std::string();
  return DetectReplyFormat(text, chat_template.source());
}

SpecialMarkers FindSpecialMarkers(const Tokenizer& tokenizer, const CallFormat* calls,
                                  const ReasoningFormat* reasoning) {
  std::vector<std::string> markers;
  if (calls != nullptr) markers = MarkersOf(*calls);
  if (reasoning != nullptr) {
    for (const ReasoningMarkers& pair : reasoning->markers) {
      markers.insert(markers.end(), {pair.start, pair.end});
    }
  }
  SpecialMarkers special;
  for (std::string& marker : markers) {
    const std::optional<TokenId> id = tokenizer.TokenToId(marker);
    if (id.has_value() && tokenizer.IsSpecial(*id)) special.push_back(std::move(marker));
  }
  return special;
}

bool PromptEndsInReasoning(std::string_view prompt, const ReasoningFormat& format) {
  const std::string_view text = TrimSpace(prompt);
  return std::any_of(format.markers.begin(), format.markers.end(),
                     [&](const ReasoningMarkers& pair) { return text.ends_with(pair.start); });
}

}  // namespace tidal
