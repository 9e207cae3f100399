#include "server/text/tokenizer_info.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/base/status_macros.h"
#include "engine/json/text_file.h"
#include "server/text/chat_template_files.h"
#include "server/text/concat.h"

namespace tidal {
namespace {

using Json = nlohmann::ordered_json;

// Tokens are objects in the file: {"content": "<s>", "lstrip": false, ...}. Deep enough for any
// real file; what lies deeper stays as it is.
constexpr int kMaxDepth = 8;

void ReplaceTokens(Json& value, int depth) {
  if (depth == kMaxDepth || !value.is_structured()) return;
  if (value.is_object() && value.contains("content") && value["content"].is_string()) {
    value = Json(value["content"]);
    return;
  }
  for (Json& part : value) ReplaceTokens(part, depth + 1);
}

// Empty when the model has none.
absl::StatusOr<std::string> DefaultTemplate(const std::string& folder,
                                            const std::string& replacement) {
  if (!replacement.empty()) {
    TIDAL_ASSIGN_OR_RETURN(TemplateSource source, ReadChatTemplate(replacement));
    return std::move(source.text);
  }
  auto sources = FindChatTemplates(folder);
  if (absl::IsNotFound(sources.status())) return "";
  if (!sources.ok()) return sources.status();
  for (TemplateSource& source : *sources) {
    if (source.name == "default") return std::move(source.text);
  }
  return "";
}

}  // namespace

absl::StatusOr<std::string> ReadTokenizerInfo(const std::string& folder,
                                              const std::string& replacement) {
  const std::string path = folder + "/tokenizer_config.json";
  Json info = Json::object();
  const auto text = ReadTextFile(path);
  if (text.ok()) {
    info = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
    if (!info.is_object()) {
      return absl::InvalidArgumentError(Concat(path, ": must be a JSON object"));
    }
  } else if (!absl::IsNotFound(text.status())) {
    return text.status();
  }
  for (Json& part : info) ReplaceTokens(part, 0);
  // Paths on the machine that made the model.
  info.erase("vocab_file");
  info.erase("merges_file");
  if (!info.contains("tokenizer_class")) info["tokenizer_class"] = "PreTrainedTokenizerFast";
  TIDAL_ASSIGN_OR_RETURN(std::string chat_template, DefaultTemplate(folder, replacement));
  info.erase("chat_template");
  if (!chat_template.empty()) info["chat_template"] = std::move(chat_template);
  return info.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tidal
