#include "server/openai/json_fields.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace tidal {
namespace {

// Limits on what a parsed body costs in memory, which is out of proportion to its size: no request
// needs to be this deep or to have this many values.
constexpr int kMaxDepth = 80;        // room for schemas 64 deep
constexpr int kMaxValues = 1 << 20;  // plain ones, of 16 bytes each
// What others cost, in plain ones: the parts of a tree on the heap.
constexpr int kContainerValues = 4, kMemberValues = 6, kStringValues = 2;

// A look at what is outside of strings, before anything is built.
absl::Status CheckShape(absl::string_view text) {
  int depth = 0;
  int values = 0;
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
      values += kStringValues;
    } else if (c == ',') {
      ++values;
    } else if (c == ':') {
      values += kMemberValues;
    } else if (c == '[' || c == '{') {
      values += kContainerValues;
      if (++depth > kMaxDepth) {
        return absl::InvalidArgumentError(
            absl::StrCat("body: must be JSON nested at most ", kMaxDepth, " deep"));
      }
    } else if (c == ']' || c == '}') {
      --depth;
    }
    if (values >= kMaxValues) {
      return absl::InvalidArgumentError(absl::StrCat("body: must be JSON of at most ", kMaxValues,
                                                     " values, where a string is ", kStringValues,
                                                     ", a container ", kContainerValues,
                                                     " and a member ", kMemberValues, " more"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view body) {
  TIDAL_RETURN_IF_ERROR(CheckShape(body));
  const auto syntax_error = [](size_t byte) {
    return absl::InvalidArgumentError(
        absl::StrCat("body: must be valid JSON in UTF-8, got a syntax error at byte ", byte));
  };
  // The library would take it for the end.
  if (const size_t nul = body.find('\0'); nul != body.npos) return syntax_error(nul + 1);
  try {
    nlohmann::json value = nlohmann::json::parse(body.begin(), body.end());
    if (!value.is_object()) {
      return absl::InvalidArgumentError(
          absl::StrCat("body: must be a JSON object, got ", QuoteJson(value)));
    }
    return value;
  } catch (const nlohmann::json::parse_error& error) {
    return syntax_error(error.byte);
  } catch (const nlohmann::json::exception&) {
    return absl::InvalidArgumentError("body: must be valid JSON, got a number out of range");
  }
}

JsonFields::JsonFields(const nlohmann::json& object, std::string prefix)
    : object_(object), prefix_(std::move(prefix)) {}

const nlohmann::json* JsonFields::Find(const char* field) const {
  return FindMember(object_, field);
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
  if (const auto number = ToInteger(*value, low, high)) return number;
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
  constexpr double kMax = std::numeric_limits<float>::max();
  if (const auto number = ToNumber(*value, -kMax, kMax)) return static_cast<float>(*number);
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
