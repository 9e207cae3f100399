#include "server/text/chat_template.h"

#include <chrono>
#include <optional>
#include <utility>

#include "server/text/chat_template_files.h"
#include "server/text/concat.h"
#include "server/text/content_format.h"
#include "server/text/jinja/interpreter.h"
#include "server/text/jinja/parser.h"
#include "server/text/jinja/python_string.h"
#include "server/text/utf8.h"

namespace tidal {
namespace {

using jinja::Dict;
using jinja::Value;

// Put behind the last content when it is to be continued: what the template puts after this goes.
// No template trims or escapes it, and no message has it.
constexpr std::string_view kContinueHere = "<tidal:continue-here:7d1f0c> ";

std::string ValidUtf8(std::string_view text) {
  std::string valid;
  AppendLossyUtf8(text, /*keep_incomplete=*/false, &valid);
  return valid;
}

Value MakeDict(Dict dict) { return Value(std::make_shared<const Dict>(std::move(dict))); }

Value ListOrNone(const std::vector<Value>& values) {
  return values.empty() ? Value(nullptr) : Value::List(values);
}

// One compiled template, and how it wants messages.
class CompiledTemplate {
 public:
  static absl::StatusOr<CompiledTemplate> Compile(std::string_view source) {
    auto block = jinja::ParseTemplate(source);
    if (!block.ok()) return block.status();
    return CompiledTemplate(*std::move(block), source.find("developer") != std::string_view::npos);
  }

  absl::StatusOr<std::string> Render(const Dict& variables) const {
    return jinja::Render(block_, variables, jinja::Limits(), std::chrono::system_clock::now());
  }

  // `after` goes behind the content.
  Value MakeMessage(const ChatTurn& turn, std::string_view after) const {
    Dict message;
    const bool rename = turn.role == "developer" && !knows_developer_;
    message.SetName("role", Value(rename ? std::string("system") : ValidUtf8(turn.role)));
    message.SetName("content", MakeContent(turn, after));
    const auto set = [&message](const char* name, const std::string& text) {
      if (!text.empty()) message.SetName(name, Value(ValidUtf8(text)));
    };
    set("name", turn.name);
    set("tool_call_id", turn.tool_call_id);
    // The names that published templates know it by.
    for (const char* name : {"reasoning", "reasoning_content", "thinking"}) {
      set(name, turn.reasoning);
    }
    if (!turn.tool_calls.empty()) message.SetName("tool_calls", Value::List(turn.tool_calls));
    return MakeDict(std::move(message));
  }

 private:
  CompiledTemplate(jinja::Block block, bool knows_developer)
      : block_(std::move(block)),
        content_format_(DetectContentFormat(block_)),
        knows_developer_(knows_developer) {}

  Value MakeContent(const ChatTurn& turn, std::string_view after) const {
    // Templates that take parts take them of users; results of tools they print.
    if (content_format_ == ContentFormat::kString || turn.role == "tool") {
      std::string joined;
      for (const std::string& text : turn.content) {
        if (!joined.empty() && !text.empty()) joined.push_back('\n');
        joined.append(text);
      }
      return Value(ValidUtf8(joined.append(after)));
    }
    std::vector<std::string> texts = turn.content;
    if (!after.empty() && texts.empty()) texts.emplace_back();
    if (!after.empty()) texts.back().append(after);
    std::vector<Value> parts;
    for (const std::string& text : texts) {
      Dict part;
      part.SetName("type", Value("text"));
      part.SetName("text", Value(ValidUtf8(text)));
      parts.push_back(MakeDict(std::move(part)));
    }
    return Value::List(std::move(parts));
  }

  jinja::Block block_;
  ContentFormat content_format_;
  bool knows_developer_;
};

class JinjaChatTemplate : public ChatTemplate {
 public:
  JinjaChatTemplate(CompiledTemplate main, std::optional<CompiledTemplate> for_tools,
                    SpecialTokens tokens, std::string source)
      : main_(std::move(main)),
        for_tools_(std::move(for_tools)),
        tokens_(std::move(tokens)),
        source_(std::move(source)) {}

  absl::StatusOr<std::string> Render(const ChatTemplateInput& input) const override {
    if (!input.continue_final_message) return RenderMessages(input, "");
    if (input.messages.empty()) {
      return absl::FailedPreconditionError("there is no last message");
    }
    auto text = RenderMessages(input, kContinueHere);
    if (!text.ok()) return text;
    // The template may have trimmed the content, and with it the space behind the mark.
    const std::string_view trimmed = kContinueHere.substr(0, kContinueHere.size() - 1);
    const size_t at = text->rfind(trimmed);
    if (at == std::string::npos) {
      return absl::FailedPreconditionError("the chat template drops the last message");
    }
    const bool kept_space = std::string_view(*text).substr(at).starts_with(kContinueHere);
    text->resize(at);
    if (!kept_space) text->resize(jinja::StripRight(*text).size());
    return text;
  }

  const std::string& source() const override { return source_; }

 private:
  absl::StatusOr<std::string> RenderMessages(const ChatTemplateInput& input,
                                             std::string_view after_last) const {
    const bool with_tools = !input.tools.empty() && for_tools_.has_value();
    const CompiledTemplate& compiled = with_tools ? *for_tools_ : main_;
    std::vector<Value> messages;
    for (const ChatTurn& turn : input.messages) {
      const bool last = &turn == &input.messages.back();
      messages.push_back(compiled.MakeMessage(turn, last ? after_last : ""));
    }
    Dict variables;
    for (const auto& [name, token] : tokens_) variables.SetName(name, Value(ValidUtf8(token)));
    for (const auto& [name, value] : input.variables.entries()) variables.Set(name, value);
    variables.SetName("messages", Value::List(std::move(messages)));
    variables.SetName("tools", ListOrNone(input.tools));
    variables.SetName("documents", ListOrNone(input.documents));
    variables.SetName("add_generation_prompt",
                      Value(input.add_generation_prompt && !input.continue_final_message));
    return compiled.Render(variables);
  }

  const CompiledTemplate main_;
  const std::optional<CompiledTemplate> for_tools_;  // the model has another one where tools are
  const SpecialTokens tokens_;
  const std::string source_;
};

absl::StatusOr<CompiledTemplate> CompileSource(const TemplateSource& source) {
  auto compiled = CompiledTemplate::Compile(source.text);
  if (compiled.ok()) return compiled;
  return absl::InvalidArgumentError(Concat(source.origin, ": ", compiled.status().message()));
}

absl::StatusOr<std::vector<TemplateSource>> FindSources(const std::string& folder,
                                                        const std::string& replacement) {
  if (replacement.empty()) return FindChatTemplates(folder);
  auto source = ReadChatTemplate(replacement);
  if (!source.ok()) return source.status();
  return std::vector<TemplateSource>{*std::move(source)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Compile(std::string_view source,
                                                                    std::string_view bos_token,
                                                                    std::string_view eos_token) {
  auto compiled = CompiledTemplate::Compile(source);
  if (!compiled.ok()) return compiled.status();
  SpecialTokens tokens = {{"bos_token", std::string(bos_token)},
                          {"eos_token", std::string(eos_token)}};
  return std::make_unique<JinjaChatTemplate>(*std::move(compiled), std::nullopt, std::move(tokens),
                                             std::string(source));
}

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Load(const std::string& folder,
                                                                 const std::string& replacement) {
  const auto sources = FindSources(folder, replacement);
  if (!sources.ok()) return sources.status();
  auto tokens = ReadSpecialTokens(folder);
  if (!tokens.ok()) return tokens.status();
  std::optional<CompiledTemplate> main, for_tools;
  std::string text;
  for (const TemplateSource& source : *sources) {
    text += source.text + '\n';
    if (source.name != "default" && source.name != "tool_use") continue;
    auto compiled = CompileSource(source);
    if (!compiled.ok()) return compiled.status();
    (source.name == "default" ? main : for_tools) = *std::move(compiled);
  }
  return std::make_unique<JinjaChatTemplate>(*std::move(main), std::move(for_tools),
                                             *std::move(tokens), std::move(text));
}

}  // namespace tidal
