// Where a model folder keeps its chat templates.
#ifndef TIDAL_SERVER_TEXT_CHAT_TEMPLATE_FILES_H_
#define TIDAL_SERVER_TEXT_CHAT_TEMPLATE_FILES_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace tidal {

struct TemplateSource {
  std::string name;    // "default", "tool_use", ...
  std::string text;    // Jinja
  std::string origin;  // its file, for messages about it
};

// Tokens by the name that templates know them by: bos_token, eos_token, ...
using SpecialTokens = std::vector<std::pair<std::string, std::string>>;

// The folder's templates, one of them "default": chat_template.jinja, with
// additional_chat_templates/tool_use.jinja if there; else tokenizer_config.json's chat_template
// (one, or a list of {"name", "template"}), else chat_template.json. NOT_FOUND when there is none;
// INVALID_ARGUMENT with the file and the field.
absl::StatusOr<std::vector<TemplateSource>> FindChatTemplates(const std::string& folder);

// What --chat_template gives: the template in the file of that path, or itself, when it has the
// brackets or line breaks of a template. NOT_FOUND when it is neither.
absl::StatusOr<TemplateSource> ReadChatTemplate(const std::string& path_or_text);

// Those that tokenizer_config.json names; none when there is no such file.
absl::StatusOr<SpecialTokens> ReadSpecialTokens(const std::string& folder);

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_CHAT_TEMPLATE_FILES_H_
