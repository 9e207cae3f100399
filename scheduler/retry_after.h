// When a refused request is worth sending again: a note on its status.
#ifndef TIDAL_SCHEDULER_RETRY_AFTER_H_
#define TIDAL_SCHEDULER_RETRY_AFTER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace tidal {

// The name of the note: a status's payload here, trailing metadata in gRPC, a header in HTTP.
inline constexpr char kRetryAfter[] = "retry-after";

inline absl::Status WithRetryAfter(absl::Status status, int64_t seconds) {
  status.SetPayload(kRetryAfter, absl::Cord(absl::StrCat(seconds)));
  return status;
}

// Seconds; nothing when the status does not say it.
inline std::optional<int64_t> RetryAfterOf(const absl::Status& status) {
  const auto note = status.GetPayload(kRetryAfter);
  int64_t seconds = 0;
  if (!note.has_value() || !absl::SimpleAtoi(std::string(*note), &seconds)) return std::nullopt;
  return seconds;
}

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_RETRY_AFTER_H_
