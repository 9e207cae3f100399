// A JSON file of a model's folder: reads the fields of one object with errors that name the file,
// the field, the value and the limit. For .cc files of this folder only.
#ifndef TIDAL_ENGINE_JSON_JSON_FILE_H_
#define TIDAL_ENGINE_JSON_JSON_FILE_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/ids.h"

namespace tidal {

// A field that is absent and one that is null are the same. A getter with a default returns it for
// such a field; without one it returns INVALID_ARGUMENT. Immutable, so thread-safe.
class JsonFile {
 public:
  // INVALID_ARGUMENT unless the text is one JSON object. `file` is for messages.
  static absl::StatusOr<JsonFile> Parse(absl::string_view text, std::string file);
  // NOT_FOUND when there is no such file. At most 64 MiB.
  static absl::StatusOr<JsonFile> Read(const std::string& path);

  bool Has(const std::string& field) const;
  absl::StatusOr<int64_t> Int(const std::string& field, int64_t min, int64_t max,
                              std::optional<int64_t> fallback = std::nullopt) const;
  // A finite number in [min, max].
  absl::StatusOr<double> Number(const std::string& field, double min, double max,
                                std::optional<double> fallback = std::nullopt) const;
  absl::StatusOr<bool> Bool(const std::string& field,
                            std::optional<bool> fallback = std::nullopt) const;
  absl::StatusOr<std::string> String(const std::string& field,
                                     std::optional<std::string> fallback = std::nullopt) const;
  // One string or a list of strings; absent = empty.
  absl::StatusOr<std::vector<std::string>> Strings(const std::string& field) const;
  // One id or a list of ids, each in [0, vocab_size); absent = empty.
  absl::StatusOr<std::vector<TokenId>> TokenIds(const std::string& field, int32_t vocab_size) const;

  // A nested object, its fields named "FIELD.x" in messages through `file`.
  absl::StatusOr<JsonFile> Object(const std::string& field) const;

  // INVALID_ARGUMENT for the first field that is not in `known`.
  absl::Status OnlyKnown(const std::vector<std::string>& known) const;

  // INVALID_ARGUMENT "FILE: FIELD: must be MUST_BE, got VALUE".
  absl::Status Error(const std::string& field, absl::string_view must_be) const;

  const std::string& file() const { return file_; }
  // The object itself, for what has another shape than the above.
  const nlohmann::json& object() const { return *object_; }

 private:
  JsonFile(std::shared_ptr<const nlohmann::json> object, std::string file);
  const nlohmann::json* Find(const std::string& field) const;  // null when absent or null

  std::shared_ptr<const nlohmann::json> object_;
  std::string file_;
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_JSON_JSON_FILE_H_
