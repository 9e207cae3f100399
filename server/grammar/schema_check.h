// What a client's JSON schema, regular expression or grammar may be, before the library that
// compiles them sees it: that one has no bounds of its own.
#ifndef TIDAL_SERVER_GRAMMAR_SCHEMA_CHECK_H_
#define TIDAL_SERVER_GRAMMAR_SCHEMA_CHECK_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace tidal {

inline constexpr size_t kMaxSchemaBytes = 256 << 10;
inline constexpr int kMaxSchemaDepth = 64;
inline constexpr int kMaxSchemaNodes = 10'000;        // values of any kind, those in enums too
inline constexpr int kMaxOptionalProperties = 500;    // of one object
inline constexpr int64_t kMaxSchemaBound = 100'000;   // of minLength, maxItems and their like
inline constexpr size_t kMaxPatternBytes = 16 << 10;  // of a regular expression
inline constexpr size_t kMaxGrammarBytes = 64 << 10;
// What a pattern comes to with its repetitions written out: "(ab){3}c" is 7.
inline constexpr int64_t kMaxPatternLength = 4096;

// `text` as JSON, with the order of its keys. INVALID_ARGUMENT "field: must be ...": no JSON, or
// beyond kMaxSchemaBytes, kMaxSchemaDepth or kMaxSchemaNodes.
absl::StatusOr<nlohmann::ordered_json> ParseBoundedJson(absl::string_view field,
                                                        absl::string_view text);

// The schema as the library takes it: objects and arrays that say nothing of what is in them may
// hold anything. INVALID_ARGUMENT "field: must ..., got ... at /properties/a" by JSON pointer:
// bounds, values of a wrong type, references to other documents; with `strict` every keyword that
// would not be enforced.
absl::StatusOr<nlohmann::ordered_json> PrepareSchema(absl::string_view field,
                                                     nlohmann::ordered_json schema, bool strict);

// INVALID_ARGUMENT: bytes (at most `max_bytes`), no UTF-8, NUL, kMaxPatternLength.
absl::Status CheckPattern(absl::string_view field, absl::string_view pattern, size_t max_bytes);

}  // namespace tidal

#endif  // TIDAL_SERVER_GRAMMAR_SCHEMA_CHECK_H_
