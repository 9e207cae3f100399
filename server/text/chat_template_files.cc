#include "server/text/chat_template_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/json/text_file.h"
#include "server/text/concat.h"
#include "server/text/json_field.h"

namespace tidal {
namespace {

using Sources = std::vector<TemplateSource>;

absl::Status In(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), Concat(path, ": ", status.message()));
}

// An empty object when there is no such file.
absl::StatusOr<nlohmann::json> ReadJsonObject(const std::string& path) {
  const auto text = ReadTextFile(path);
  if (absl::IsNotFound(text.status())) return nlohmann::json::object();
  if (!text.ok()) return text.status();
  auto document = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) {
    return absl::InvalidArgumentError(Concat(path, ": must be a JSON object"));
  }
  return document;
}

bool HasDefault(const Sources& sources) {
  return std::any_of(sources.begin(), sources.end(),
                     [](const TemplateSource& source) { return source.name == "default"; });
}

// chat_template of a JSON file; nothing when it has none.
absl::StatusOr<Sources> FindInJson(const std::string& path) {
  const auto document = ReadJsonObject(path);
  if (!document.ok()) return document.status();
  const JsonField root(&*document, "");
  const JsonField field = root.Member("chat_template");
  const std::string origin = path + ": chat_template";
  Sources sources;
  if (field.is_null()) return sources;
  if (!field.value().is_array()) {
    const auto text = field.String();
    if (!text.ok()) return In(path, text.status());
    if (!text->empty()) sources.push_back({"default", *text, origin});
    return sources;
  }
  for (size_t i = 0; i < field.value().size(); ++i) {
    const auto name = field.Element(i).Member("name").String();
    const auto text = field.Element(i).Member("template").String();
    if (!name.ok()) return In(path, name.status());
    if (!text.ok()) return In(path, text.status());
    sources.push_back({*name, *text, Concat(origin, " \"", *name, "\"")});
  }
  if (HasDefault(sources)) return sources;
  return In(path, field.Wrong("a list with a template named \"default\""));
}

absl::StatusOr<Sources> FindFiles(const std::string& folder) {
  Sources sources;
  const std::pair<const char*, const char*> files[] = {
      {"default", "/chat_template.jinja"},
      {"tool_use", "/additional_chat_templates/tool_use.jinja"}};
  for (const auto& [name, file] : files) {
    const std::string path = folder + file;
    auto text = ReadTextFile(path);
    if (absl::IsNotFound(text.status())) continue;
    if (!text.ok()) return text.status();
    sources.push_back({name, *std::move(text), path});
  }
  // Templates for tools alone leave the default to the other files.
  if (!HasDefault(sources)) sources.clear();
  return sources;
}

// A token is a string, or an object with its content.
std::string TokenText(const JsonField& field) {
  const nlohmann::json& value =
      field.value().is_object() ? field.Member("content").value() : field.value();
  return value.is_string() ? value.get<std::string>() : std::string();
}

}  // namespace

absl::StatusOr<Sources> FindChatTemplates(const std::string& folder) {
  auto files = FindFiles(folder);
  if (!files.ok() || !files->empty()) return files;
  for (const char* name : {"/tokenizer_config.json", "/chat_template.json"}) {
    auto sources = FindInJson(folder + name);
    if (!sources.ok() || !sources->empty()) return sources;
  }
  return absl::NotFoundError(Concat(folder,
                                    ": no chat_template.jinja, and no chat_template in "
                                    "tokenizer_config.json or chat_template.json"));
}

absl::StatusOr<TemplateSource> ReadChatTemplate(const std::string& path_or_text) {
  constexpr size_t kLongestPath = 4096;
  if (path_or_text.size() < kLongestPath) {
    auto text = ReadTextFile(path_or_text);
    if (text.ok()) return TemplateSource{"default", *std::move(text), path_or_text};
    if (!absl::IsNotFound(text.status())) return text.status();
  }
  if (path_or_text.find_first_of("{}\n") != std::string::npos) {
    return TemplateSource{"default", path_or_text, "chat_template"};
  }
  return absl::NotFoundError(
      Concat("chat_template: must be a file or the text of a template, got ", path_or_text));
}

absl::StatusOr<SpecialTokens> ReadSpecialTokens(const std::string& folder) {
  const auto document = ReadJsonObject(folder + "/tokenizer_config.json");
  if (!document.ok()) return document.status();
  const JsonField config(&*document, "");
  SpecialTokens tokens;
  for (const char* name : {"bos_token", "eos_token", "pad_token", "unk_token", "sep_token",
                           "cls_token", "mask_token"}) {
    std::string text = TokenText(config.Member(name));
    if (!text.empty()) tokens.emplace_back(name, std::move(text));
  }
  return tokens;
}

}  // namespace tidal
