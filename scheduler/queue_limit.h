// Which limit of the queue refused a request: a note on its status.
#ifndef TIDAL_SCHEDULER_QUEUE_LIMIT_H_
#define TIDAL_SCHEDULER_QUEUE_LIMIT_H_

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/cord.h"

namespace tidal {

enum class QueueLimit : uint8_t { kRequests, kTokens };

inline constexpr char kQueueLimit[] = "queue-limit";

inline absl::Status WithQueueLimit(absl::Status status, QueueLimit limit) {
  status.SetPayload(kQueueLimit, absl::Cord(limit == QueueLimit::kTokens ? "tokens" : "requests"));
  return status;
}

// kRequests when the status does not say it.
inline QueueLimit QueueLimitOf(const absl::Status& status) {
  const auto note = status.GetPayload(kQueueLimit);
  return note.has_value() && *note == "tokens" ? QueueLimit::kTokens : QueueLimit::kRequests;
}

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_QUEUE_LIMIT_H_
