#include "engine/json/json_file.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/json/json_value.h"
#include "engine/json/text_file.h"

namespace tidal {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxJsonBytes = int64_t{64} << 20;
constexpr size_t kMaxShownChars = 60;  // of a bad value, in a message

std::string Shown(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > kMaxShownChars) text = text.substr(0, kMaxShownChars) + "...";
  return text;
}

}  // namespace

JsonFile::JsonFile(std::shared_ptr<const Json> object, std::string file)
    : object_(std::move(object)), file_(std::move(file)) {}

absl::StatusOr<JsonFile> JsonFile::Parse(absl::string_view text, std::string file) {
  Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": is not valid JSON"));
  }
  if (!json.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": must be a JSON object, got ", Shown(json)));
  }
  return JsonFile(std::make_shared<const Json>(std::move(json)), std::move(file));
}

absl::StatusOr<JsonFile> JsonFile::Read(const std::string& path) {
  TIDAL_ASSIGN_OR_RETURN(std::string text, ReadTextFile(path, kMaxJsonBytes));
  return Parse(text, path);
}

const Json* JsonFile::Find(const std::string& field) const { return FindMember(*object_, field); }

bool JsonFile::Has(const std::string& field) const { return Find(field) != nullptr; }

absl::Status JsonFile::Error(const std::string& field, absl::string_view must_be) const {
  const Json* value = Find(field);
  return absl::InvalidArgumentError(absl::StrCat(file_, ": ", field, ": must be ", must_be, ", ",
                                                 value ? "got " + Shown(*value) : "is missing"));
}

absl::StatusOr<int64_t> JsonFile::Int(const std::string& field, int64_t min, int64_t max,
                                      std::optional<int64_t> fallback) const {
  const Json* value = Find(field);
  if (!value && fallback) return *fallback;
  const auto number = value ? ToInteger(*value, min, max) : std::nullopt;
  if (!number) return Error(field, absl::StrCat("an integer in [", min, ", ", max, "]"));
  return *number;
}

absl::StatusOr<double> JsonFile::Number(const std::string& field, double min, double max,
                                        std::optional<double> fallback) const {
  const Json* value = Find(field);
  if (!value && fallback) return *fallback;
  const auto number = value ? ToNumber(*value, min, max) : std::nullopt;
  if (!number) return Error(field, absl::StrCat("a number in [", min, ", ", max, "]"));
  return *number;
}

absl::StatusOr<bool> JsonFile::Bool(const std::string& field, std::optional<bool> fallback) const {
  const Json* value = Find(field);
  if (!value && fallback) return *fallback;
  if (!value || !value->is_boolean()) return Error(field, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::string> JsonFile::String(const std::string& field,
                                             std::optional<std::string> fallback) const {
  const Json* value = Find(field);
  if (!value && fallback) return *fallback;
  if (!value || !value->is_string()) return Error(field, "a string");
  return value->get<std::string>();
}

absl::StatusOr<std::vector<std::string>> JsonFile::Strings(const std::string& field) const {
  std::vector<std::string> strings;
  const Json* value = Find(field);
  if (!value) return strings;
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& item : list) {
    if (!item.is_string()) return Error(field, "a string or a list of strings");
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

absl::StatusOr<std::vector<TokenId>> JsonFile::TokenIds(const std::string& field,
                                                        int32_t vocab_size) const {
  const Json* value = Find(field);
  if (!value) return std::vector<TokenId>();
  const auto ids =
      ToTokenIds(value->is_array() ? *value : Json::array({*value}), uint32_t(vocab_size) - 1);
  if (!ids) {
    return Error(field, absl::StrCat("a token id or a list of token ids in [0, ", vocab_size, ")"));
  }
  return std::vector<TokenId>(ids->begin(), ids->end());
}

absl::StatusOr<JsonFile> JsonFile::Object(const std::string& field) const {
  const Json* value = Find(field);
  if (!value || !value->is_object()) return Error(field, "an object");
  return JsonFile(std::make_shared<const Json>(*value), absl::StrCat(file_, ": ", field));
}

absl::Status JsonFile::OnlyKnown(const std::vector<std::string>& known) const {
  for (const auto& [field, value] : object_->items()) {
    bool found = false;
    for (const std::string& name : known) found |= name == field;
    if (!found) {
      return absl::InvalidArgumentError(absl::StrCat(file_, ": ", field, ": is not a known field"));
    }
  }
  return absl::OkStatus();
}

}  // namespace tidal
