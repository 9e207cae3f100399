#include "engine/json/json_value.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxQuotedBytes = 64;

}  // namespace

const Json* FindMember(const Json& object, const std::string& name) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(name);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::optional<int64_t> ToInteger(const Json& value, int64_t min, int64_t max) {
  int64_t number = 0;
  if (value.is_number_unsigned()) {
    if (value.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}) return std::nullopt;
    number = static_cast<int64_t>(value.get<uint64_t>());
  } else if (value.is_number_integer()) {
    number = value.get<int64_t>();
  } else if (value.is_number_float()) {
    const double whole = value.get<double>();
    if (std::nearbyint(whole) != whole || std::abs(whole) >= 9.0e15) return std::nullopt;
    number = static_cast<int64_t>(whole);
  } else {
    return std::nullopt;
  }
  if (number < min || number > max) return std::nullopt;
  return number;
}

std::optional<double> ToNumber(const Json& value, double min, double max) {
  if (!value.is_number()) return std::nullopt;
  const double number = value.get<double>();
  if (!(number >= min && number <= max)) return std::nullopt;
  return number;
}

std::optional<std::vector<uint32_t>> ToTokenIds(const Json& value, uint32_t max) {
  if (!value.is_array()) return std::nullopt;
  std::vector<uint32_t> ids;
  ids.reserve(value.size());
  for (const Json& element : value) {
    const std::optional<int64_t> id = ToInteger(element, 0, max);
    if (!id.has_value()) return std::nullopt;
    ids.push_back(static_cast<uint32_t>(*id));
  }
  return ids;
}

bool IsJson(absl::string_view text) {
  return text.find('\0') == text.npos && nlohmann::json::accept(text.begin(), text.end());
}

std::string QuoteJson(const Json& value) {
  if (value.is_array() || value.is_object()) {
    return absl::StrCat("an ", value.type_name(), " of ", value.size());
  }
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (text.size() > kMaxQuotedBytes) return absl::StrCat("a string of ", text.size(), " bytes");
  }
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tidal
