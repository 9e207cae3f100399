// A value in a JSON document together with its path, so that every complaint names the field.
#ifndef TIDAL_SERVER_TEXT_JSON_FIELD_H_
#define TIDAL_SERVER_TEXT_JSON_FIELD_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tidal {

// A view: the document outlives it.
class JsonField {
 public:
  JsonField(const nlohmann::json* value, std::string path)
      : value_(value), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& path() const { return path_; }
  bool is_null() const { return value_->is_null(); }

  // The null value when this is not an object or has no such member.
  JsonField Member(std::string_view name) const;
  JsonField Element(size_t index) const;  // of an array, within it

  // INVALID_ARGUMENT "path: must be <what>, got <value>".
  absl::Status Wrong(std::string_view what) const;
  absl::Status RequireArray() const;
  absl::Status RequireObject() const;
  absl::StatusOr<std::string> String() const;
  absl::StatusOr<bool> Bool(bool when_null) const;
  absl::StatusOr<int64_t> Int(int64_t min, int64_t max) const;

 private:
  const nlohmann::json* value_;
  std::string path_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_TEXT_JSON_FIELD_H_
