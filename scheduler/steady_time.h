// Time that nobody sets. It begins as the wall clock's and then only runs on, so deadlines and
// durations survive a wall clock that jumps.
#ifndef TIDAL_SCHEDULER_STEADY_TIME_H_
#define TIDAL_SCHEDULER_STEADY_TIME_H_

#include <chrono>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tidal {

// Thread-safe.
inline absl::Time SteadyNow() {
  using Clock = std::chrono::steady_clock;
  static const Clock::time_point origin = Clock::now();
  static const absl::Time wall_at_origin = absl::Now();
  return wall_at_origin + absl::FromChrono(Clock::now() - origin);
}

// The instant that the wall clock calls `wall`, as far as is known now.
inline absl::Time SteadyTimeOf(absl::Time wall) {
  if (wall == absl::InfiniteFuture() || wall == absl::InfinitePast()) return wall;
  return SteadyNow() + (wall - absl::Now());
}

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_STEADY_TIME_H_
