#include "server/http/json_fields.h"

#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace tidal {
namespace {

// Limits on what a parsed body costs in memory, which is out of proportion to its size: no request
// needs to be this deep or to have this many values.
constexpr int kMaxDepth = 32;
constexpr int kMaxValues = 4 << 20;
constexpr size_t kMaxQuotedBytes = 64;

// A look at brackets and commas outside of strings, before anything is built.
absl::Status CheckShape(absl::string_view text) {
  int depth = 0;
  int commas = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == ',') {
      ++commas;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) {
        return absl::InvalidArgumentError(
            absl::StrCat("body: must be JSON nested at most ", kMaxDepth, " deep"));
      }
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  if (commas < kMaxValues) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("body: must be JSON of at most ", kMaxValues, " values"));
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view body) {
  TIDAL_RETURN_IF_ERROR(CheckShape(body));
  try {
    nlohmann::json value = nlohmann::json::parse(body.begin(), body.end());
    if (!value.is_object()) {
      return absl::InvalidArgumentError(
          absl::StrCat("body: must be a JSON object, got ", QuoteJson(value)));
    }
    return value;
  } catch (const nlohmann::json::parse_error& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("body: must be valid JSON in UTF-8, got a syntax error at byte ", error.byte));
  } catch (const nlohmann::json::exception&) {
    return absl::InvalidArgumentError("body: must be valid JSON, got a number out of range");
  }
}

std::string QuoteJson(const nlohmann::json& value) {
  if (value.is_array() || value.is_object()) {
    return absl::StrCat("an ", value.type_name(), " of ", value.size());
  }
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (text.size() > kMaxQuotedBytes) return absl::StrCat("a string of ", text.size(), " bytes");
  }
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<int64_t> ToInteger(const nlohmann::json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::nearbyint(number) == number && std::abs(number) < 9.0e15) {
      return static_cast<int64_t>(number);
    }
  }
  return std::nullopt;
}

std::optional<std::vector<uint32_t>> ToTokenIds(const nlohmann::json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<uint32_t> ids;
  ids.reserve(value.size());
  for (const nlohmann::json& element : value) {
    const std::optional<int64_t> id = ToInteger(element);
    if (!id || *id < 0 || *id > std::numeric_limits<uint32_t>::max()) return std::nullopt;
    ids.push_back(static_cast<uint32_t>(*id));
  }
  return ids;
}

JsonFields::JsonFields(const nlohmann::json& object, std::string prefix)
    : object_(object), prefix_(std::move(prefix)) {}

const nlohmann::json* JsonFields::Find(const char* field) const {
  const auto it = object_.find(field);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void JsonFields::Fail(absl::string_view field, absl::string_view wanted,
                      const nlohmann::json& value) {
  Fail(field, absl::StrCat("must be ", wanted, ", got ", QuoteJson(value)));
}

void JsonFields::Fail(absl::string_view field, absl::string_view message) {
  if (status_.ok()) {
    status_ = absl::InvalidArgumentError(absl::StrCat(prefix_, field, ": ", message));
  }
}

std::optional<bool> JsonFields::Bool(const char* field) {
  const nlohmann::json* value = Find(field);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  Fail(field, "true or false", *value);
  return std::nullopt;
}

std::optional<int64_t> JsonFields::Integer(const char* field, int64_t low, int64_t high) {
  const nlohmann::json* value = Find(field);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = ToInteger(*value);
  if (number && *number >= low && *number <= high) return number;
  Fail(field, absl::StrCat("an integer in [", low, ", ", high, "]"), *value);
  return std::nullopt;
}

std::optional<uint32_t> JsonFields::Unsigned(const char* field, uint32_t low, uint32_t high) {
  const auto value = Integer(field, low, high);
  if (!value) return std::nullopt;
  return static_cast<uint32_t>(*value);
}

std::optional<float> JsonFields::Number(const char* field) {
  const nlohmann::json* value = Find(field);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) {
    const double number = value->get<double>();
    if (std::abs(number) <= std::numeric_limits<float>::max()) return static_cast<float>(number);
  }
  Fail(field, "a number", *value);
  return std::nullopt;
}

std::optional<std::string> JsonFields::String(const char* field) {
  const nlohmann::json* value = Find(field);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  Fail(field, "a string", *value);
  return std::nullopt;
}

std::optional<std::vector<std::string>> JsonFields::StringOrStrings(const char* field) {
  const nlohmann::json* value = Find(field);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return std::vector<std::string>{value->get<std::string>()};
  if (!value->is_array()) {
    Fail(field, "a string or an array of strings", *value);
    return std::nullopt;
  }
  std::vector<std::string> strings;
  for (size_t i = 0; i < value->size(); ++i) {
    const nlohmann::json& element = (*value)[i];
    if (!element.is_string()) {
      Fail(absl::StrCat(field, "[", i, "]"), "a string", element);
      return std::nullopt;
    }
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

std::optional<std::vector<uint32_t>> JsonFields::TokenIds(const char* field) {
  const nlohmann::json* value = Find(field);
  if (value == nullptr) return std::nullopt;
  auto ids = ToTokenIds(*value);
  if (!ids) Fail(field, "an array of token ids", *value);
  return ids;
}

const nlohmann::json* JsonFields::Object(const char* field) {
  const nlohmann::json* value = Find(field);
  if (value == nullptr || value->is_object()) return value;
  Fail(field, "an object", *value);
  return nullptr;
}

const nlohmann::json* JsonFields::Array(const char* field) {
  const nlohmann::json* value = Find(field);
  if (value == nullptr || value->is_array()) return value;
  Fail(field, "an array", *value);
  return nullptr;
}

}  // namespace tidal
