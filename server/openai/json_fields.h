// Typed reading of the fields of a JSON object that a client sent.
#ifndef TIDAL_SERVER_OPENAI_JSON_FIELDS_H_
#define TIDAL_SERVER_OPENAI_JSON_FIELDS_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/json/json_value.h"
#include "nlohmann/json_fwd.hpp"

namespace tidal {

// The body as a JSON object of limited depth; INVALID_ARGUMENT "body: ..." when it is none, also
// for broken UTF-8 and for numbers out of range.
absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view body);

// Reads fields by name. A field that is absent or null reads as nullopt; so does one of the wrong
// type, and status() is then INVALID_ARGUMENT "<prefix><field>: must be ..., got ..." of the first
// such field. Views `object`, which must outlive it.
class JsonFields {
 public:
  explicit JsonFields(const nlohmann::json& object, std::string prefix = "");

  std::optional<bool> Bool(const char* field);
  std::optional<int64_t> Integer(const char* field, int64_t low, int64_t high);
  std::optional<uint32_t> Unsigned(const char* field, uint32_t low = 0,
                                   uint32_t high = std::numeric_limits<uint32_t>::max());
  std::optional<float> Number(const char* field);  // finite
  std::optional<std::string> String(const char* field);
  std::optional<std::vector<std::string>> StringOrStrings(const char* field);
  std::optional<std::vector<uint32_t>> TokenIds(const char* field);
  const nlohmann::json* Object(const char* field);
  const nlohmann::json* Array(const char* field);

  // Null when absent or null.
  const nlohmann::json* Find(const char* field) const;

  // Records "<field>: must be <wanted>, got <value>", unless an earlier field failed.
  void Fail(absl::string_view field, absl::string_view wanted, const nlohmann::json& value);
  void Fail(absl::string_view field, absl::string_view message);
  // Takes over the fault of a reader of a nested object.
  void Adopt(const absl::Status& nested) { status_.Update(nested); }

  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json& object_;
  const std::string prefix_;
  absl::Status status_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_JSON_FIELDS_H_
