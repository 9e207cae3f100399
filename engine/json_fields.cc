#include "engine/json_fields.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

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

// False when the value is not an integer that fits.
bool ToInt64(const Json& value, int64_t* out) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}) {
    return false;
  }
  *out = value.get<int64_t>();
  return true;
}

}  // namespace

absl::StatusOr<std::string> ReadTextFile(const std::string& path, int64_t max_bytes) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  }
  const auto size = std::filesystem::file_size(path, error);
  if (error) return absl::NotFoundError(absl::StrCat(path, ": ", error.message()));
  if (size > static_cast<uintmax_t>(max_bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": must be at most ", max_bytes, " bytes, got ", size));
  }
  std::string text(size, '\0');
  std::ifstream stream(path, std::ios::binary);
  if (!stream.read(text.data(), static_cast<std::streamsize>(size))) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  }
  return text;
}

JsonFields::JsonFields(std::shared_ptr<const Json> object, std::string file)
    : object_(std::move(object)), file_(std::move(file)) {}

absl::StatusOr<JsonFields> JsonFields::Parse(absl::string_view text, std::string file) {
  Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": is not valid JSON"));
  }
  if (!json.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": must be a JSON object, got ", Shown(json)));
  }
  return JsonFields(std::make_shared<const Json>(std::move(json)), std::move(file));
}

absl::StatusOr<JsonFields> JsonFields::Read(const std::string& path) {
  TIDAL_ASSIGN_OR_RETURN(std::string text, ReadTextFile(path, kMaxJsonBytes));
  return Parse(text, path);
}

const Json* JsonFields::Find(const std::string& field) const {
  const auto it = object_->find(field);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

bool JsonFields::Has(const std::string& field) const { return Find(field) != nullptr; }

absl::Status JsonFields::Error(const std::string& field, absl::string_view must_be) const {
  const Json* value = Find(field);
  return absl::InvalidArgumentError(absl::StrCat(file_, ": ", field, ": must be ", must_be, ", ",
                                                 value ? "got " + Shown(*value) : "is missing"));
}

absl::StatusOr<int64_t> JsonFields::Int(const std::string& field, int64_t min, int64_t max,
                                        std::optional<int64_t> fallback) const {
  const Json* value = Find(field);
  if (!value && fallback) return *fallback;
  int64_t number = 0;
  if (!value || !ToInt64(*value, &number) || number < min || number > max) {
    return Error(field, absl::StrCat("an integer in [", min, ", ", max, "]"));
  }
  return number;
}

absl::StatusOr<double> JsonFields::Number(const std::string& field, double min, double max,
                                          std::optional<double> fallback) const {
  const Json* value = Find(field);
  if (!value && fallback) return *fallback;
  const double number =
      value && value->is_number() ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
  if (!(number >= min && number <= max)) {
    return Error(field, absl::StrCat("a number in [", min, ", ", max, "]"));
  }
  return number;
}

absl::StatusOr<bool> JsonFields::Bool(const std::string& field,
                                      std::optional<bool> fallback) const {
  const Json* value = Find(field);
  if (!value && fallback) return *fallback;
  if (!value || !value->is_boolean()) return Error(field, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::string> JsonFields::String(const std::string& field,
                                               std::optional<std::string> fallback) const {
  const Json* value = Find(field);
  if (!value && fallback) return *fallback;
  if (!value || !value->is_string()) return Error(field, "a string");
  return value->get<std::string>();
}

absl::StatusOr<std::vector<std::string>> JsonFields::Strings(const std::string& field) const {
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

absl::StatusOr<std::vector<TokenId>> JsonFields::TokenIds(const std::string& field,
                                                          int32_t vocab_size) const {
  std::vector<TokenId> ids;
  const Json* value = Find(field);
  if (!value) return ids;
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& item : list) {
    int64_t id = 0;
    if (!ToInt64(item, &id) || id < 0 || id >= vocab_size) {
      return Error(field,
                   absl::StrCat("a token id or a list of token ids in [0, ", vocab_size, ")"));
    }
    ids.push_back(static_cast<TokenId>(id));
  }
  return ids;
}

absl::StatusOr<JsonFields> JsonFields::Object(const std::string& field) const {
  const Json* value = Find(field);
  if (!value || !value->is_object()) return Error(field, "an object");
  return JsonFields(std::make_shared<const Json>(*value), absl::StrCat(file_, ": ", field));
}

absl::Status JsonFields::OnlyKnown(const std::vector<std::string>& known) const {
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
