#include "server/text/json_field.h"

#include "server/text/concat.h"

namespace tidal {
namespace {

constexpr size_t kShownMax = 80;  // bytes of a value that a message shows

// Containers are not written out: a message stays short, and nesting is not followed.
std::string Show(const nlohmann::json& value) {
  if (value.is_null()) return "nothing";
  if (value.is_array()) return Concat("an array of ", value.size());
  if (value.is_object()) return "an object";
  std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kShownMax) text = Concat(text.substr(0, kShownMax), "...");
  return text;
}

}  // namespace

JsonField JsonField::Member(std::string_view name) const {
  static const nlohmann::json* const null = new nlohmann::json();
  std::string path = path_.empty() ? std::string(name) : Concat(path_, ".", name);
  if (!value_->is_object()) return {null, std::move(path)};
  const auto it = value_->find(name);
  return {it == value_->end() ? null : &*it, std::move(path)};
}

JsonField JsonField::Element(size_t index) const {
  return {&(*value_)[index], Concat(path_, "[", index, "]")};
}

absl::Status JsonField::Wrong(std::string_view what) const {
  return absl::InvalidArgumentError(
      Concat(path_.empty() ? "the document" : path_, ": must be ", what, ", got ", Show(*value_)));
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
  const std::string what = Concat("an integer from ", min, " to ", max);
  if (!value_->is_number_integer()) return Wrong(what);
  if (value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(max)) {
    return Wrong(what);
  }
  const int64_t number = value_->get<int64_t>();
  return number < min || number > max ? Wrong(what) : absl::StatusOr<int64_t>(number);
}

}  // namespace tidal
