// JSON as a template sees it: what Python's json.loads() makes of it, keys in their order.
#ifndef TIDAL_SERVER_TEXT_JINJA_JSON_VALUE_H_
#define TIDAL_SERVER_TEXT_JINJA_JSON_VALUE_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "server/text/jinja/value.h"

namespace tidal::jinja {

// INVALID_ARGUMENT "must be ..., got ..." for what is not JSON in UTF-8, is nested deeper than
// kMaxJsonDepth, or has an integer of more than 64 bits.
absl::StatusOr<Value> ParseJson(std::string_view text);

inline constexpr int kMaxJsonDepth = 64;

}  // namespace tidal::jinja

#endif  // TIDAL_SERVER_TEXT_JINJA_JSON_VALUE_H_
