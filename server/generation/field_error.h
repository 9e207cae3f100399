// The error that a field of a request gets for its value.
#ifndef TIDAL_SERVER_GENERATION_FIELD_ERROR_H_
#define TIDAL_SERVER_GENERATION_FIELD_ERROR_H_

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tidal {

// "field: must be positive, got -1".
template <typename Value>
absl::Status InvalidField(absl::string_view field, absl::string_view must, const Value& got) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": must ", must, ", got ", got));
}

// The parts of the library below know the value, not where in the request it was.
inline absl::Status Within(absl::string_view field, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(field, status.message()));
}

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_FIELD_ERROR_H_
