#include "server/text/json_field.h"

#include "engine/json/json_value.h"
#include "server/text/concat.h"

namespace tidal {
namespace {

std::string Quote(const nlohmann::json& value) {
  return value.is_null() ? "nothing" : QuoteJson(value);
}

}  // namespace

JsonField JsonField::Member(std::string_view name) const {
  static const nlohmann::json* const null = new nlohmann::json();
  const nlohmann::json* const member = FindMember(*value_, std::string(name));
  std::string path = path_.empty() ? std::string(name) : Concat(path_, ".", name);
  return {member == nullptr ? null : member, std::move(path)};
}

JsonField JsonField::Element(size_t index) const {
  return {&(*value_)[index], Concat(path_, "[", index, "]")};
}

absl::Status JsonField::Wrong(std::string_view what) const {
  return absl::InvalidArgumentError(
      Concat(path_.empty() ? "the document" : path_, ": must be ", what, ", got ", Quote(*value_)));
}

absl::Status JsonField::RequireArray() const {
  return value_->is_array() ? absl::OkStatus() : Wrong("an array");
}

absl::Status JsonField::RequireObject() const {
  return value_->is_object() ? absl::OkStatus() : Wrong("an object");
}

absl::StatusOr<std::string> JsonField::String() const {
  if (!value_->is_string()) return Wrong("a string");
  return value_->get_ref<const std::string&>();
}

absl::StatusOr<bool> JsonField::Bool(bool when_null) const {
  if (value_->is_null()) return when_null;
  if (!value_->is_boolean()) return Wrong("true or false");
  return value_->get<bool>();
}

absl::StatusOr<int64_t> JsonField::Int(int64_t min, int64_t max) const {
  if (const auto number = ToInteger(*value_, min, max)) return *number;
  return Wrong(Concat("an integer from ", min, " to ", max));
}

}  // namespace tidal
