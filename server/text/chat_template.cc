#include "server/text/chat_template.h"

#include <chrono>
#include <utility>

#include "server/text/concat.h"
#include "server/text/file.h"
#include "server/text/jinja/interpreter.h"
#include "server/text/jinja/parser.h"
#include "server/text/jinja/python_string.h"
#include "server/text/json_field.h"
#include "server/text/utf8.h"

namespace tidal {
namespace {

using jinja::Dict;
using jinja::Value;

// Put behind the last content when it is to be continued: what the template puts after this goes.
// No template trims or escapes it, and no message has it.
constexpr std::string_view kContinueHere = "<tidal:continue-here:7d1f0c> ";

struct SpecialTokens {
  std::string bos, eos;
  std::vector<std::pair<std::string, std::string>> others;  // pad_token and the like, by field
};

std::string ValidUtf8(std::string_view text) {
  std::string valid;
  AppendLossyUtf8(text, /*keep_incomplete=*/false, &valid);
  return valid;
}

Value MakeMessage(const ChatTurn& turn, std::string_view content) {
  auto message = std::make_shared<Dict>();
  message->SetName("role", Value(ValidUtf8(turn.role)));
  message->SetName("content", Value(ValidUtf8(content)));
  if (!turn.name.empty()) message->SetName("name", Value(ValidUtf8(turn.name)));
  return Value(jinja::DictPtr(std::move(message)));
}

class JinjaChatTemplate : public ChatTemplate {
 public:
  JinjaChatTemplate(jinja::Block block, SpecialTokens tokens)
      : block_(std::move(block)), tokens_(std::move(tokens)) {}

  absl::StatusOr<std::string> Render(const ChatTemplateInput& input) const override {
    if (!input.continue_final_message) return RenderMessages(input, "");
    if (input.messages.empty()) {
      return absl::InvalidArgumentError("messages: must have a last message to continue, got none");
    }
    auto text = RenderMessages(input, kContinueHere);
    if (!text.ok()) return text;
    // The template may have trimmed the content, and with it the space behind the mark.
    const std::string_view trimmed = kContinueHere.substr(0, kContinueHere.size() - 1);
    const size_t at = text->rfind(trimmed);
    if (at == std::string::npos) {
      return absl::InvalidArgumentError(
          "continue_final_message: must be false, the chat template drops the last message");
    }
    const bool kept_space = std::string_view(*text).substr(at).starts_with(kContinueHere);
    text->resize(at);
    if (!kept_space) text->resize(jinja::StripRight(*text).size());
    return text;
  }

 private:
  absl::StatusOr<std::string> RenderMessages(const ChatTemplateInput& input,
                                             std::string_view after_last) const {
    std::vector<Value> messages;
    for (const ChatTurn& turn : input.messages) {
      const bool last = &turn == &input.messages.back();
      messages.push_back(MakeMessage(turn, last ? Concat(turn.content, after_last) : turn.content));
    }
    Dict variables;
    for (const auto& [name, token] : tokens_.others) variables.SetName(name, Value(token));
    variables.SetName("bos_token", Value(tokens_.bos));
    variables.SetName("eos_token", Value(tokens_.eos));
    variables.SetName("messages", Value::List(std::move(messages)));
    variables.SetName("tools", Value(nullptr));
    variables.SetName("documents", Value(nullptr));
    variables.SetName("add_generation_prompt",
                      Value(input.add_generation_prompt && !input.continue_final_message));
    return jinja::Render(block_, variables, jinja::Limits(), std::chrono::system_clock::now());
  }

  const jinja::Block block_;
  const SpecialTokens tokens_;
};

absl::StatusOr<std::unique_ptr<ChatTemplate>> CompileWith(std::string_view source,
                                                          SpecialTokens tokens) {
  auto block = jinja::ParseTemplate(source);
  if (!block.ok()) return block.status();
  return std::make_unique<JinjaChatTemplate>(*std::move(block), std::move(tokens));
}

// A token is a string, or an object with its content.
std::string TokenText(const JsonField& field) {
  const nlohmann::json& value =
      field.value().is_object() ? field.Member("content").value() : field.value();
  return value.is_string() ? value.get<std::string>() : std::string();
}

SpecialTokens ReadSpecialTokens(const JsonField& config) {
  SpecialTokens tokens;
  tokens.bos = TokenText(config.Member("bos_token"));
  tokens.eos = TokenText(config.Member("eos_token"));
  for (const char* name : {"pad_token", "unk_token", "sep_token", "cls_token", "mask_token"}) {
    std::string text = TokenText(config.Member(name));
    if (!text.empty()) tokens.others.emplace_back(name, std::move(text));
  }
  return tokens;
}

// One template, or a list of {"name", "template"} of which "default" is meant. Empty when there is
// none.
absl::StatusOr<std::string> FindTemplate(const JsonField& field) {
  if (field.is_null()) return std::string();
  if (!field.value().is_array()) return field.String();
  for (size_t i = 0; i < field.value().size(); ++i) {
    const JsonField named = field.Element(i);
    if (named.Member("name").value() == "default") return named.Member("template").String();
  }
  return field.Wrong("a list with a template named \"default\"");
}

absl::Status In(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), Concat(path, ": ", status.message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Compile(std::string_view source,
                                                                    std::string_view bos_token,
                                                                    std::string_view eos_token) {
  return CompileWith(source, {ValidUtf8(bos_token), ValidUtf8(eos_token), {}});
}

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Load(const std::string& folder) {
  const std::string config_path = folder + "/tokenizer_config.json";
  const std::string template_path = folder + "/chat_template.jinja";
  const auto config_text = ReadTextFile(config_path);
  if (!config_text.ok() && !absl::IsNotFound(config_text.status())) return config_text.status();
  const nlohmann::json document =
      nlohmann::json::parse(config_text.ok() ? *config_text : "{}", nullptr,
                            /*allow_exceptions=*/false);
  const JsonField config(&document, "");
  if (document.is_discarded() || !document.is_object()) {
    return absl::InvalidArgumentError(Concat(config_path, ": must be a JSON object"));
  }
  const auto given = FindTemplate(config.Member("chat_template"));
  if (!given.ok()) return In(config_path, given.status());
  std::string source = *given, path = config_path + ": chat_template";
  if (source.empty()) {
    const auto file = ReadTextFile(template_path);
    if (absl::IsNotFound(file.status())) {
      return absl::NotFoundError(Concat(folder, ": no chat_template in tokenizer_config.json and ",
                                        "no chat_template.jinja"));
    }
    if (!file.ok()) return file.status();
    source = *file;
    path = template_path;
  }
  auto compiled = CompileWith(source, ReadSpecialTokens(config));
  return compiled.ok() ? std::move(compiled) : In(path, compiled.status());
}

}  // namespace tidal
