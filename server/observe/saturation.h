// Has the server more to do than it may let wait? With hysteresis, so that load balancers that ask
// do not send everybody to and fro.
#ifndef TIDAL_SERVER_OBSERVE_SATURATION_H_
#define TIDAL_SERVER_OBSERVE_SATURATION_H_

#include "absl/time/time.h"
#include "scheduler/request_queue.h"

namespace tidal {

// Saturated once requests have been refused for kBegin without a break of kBreak; not any more when
// the queue has fallen to kEnd of its limit. Not thread-safe.
class Saturation {
 public:
  static constexpr absl::Duration kBegin = absl::Seconds(2);
  static constexpr absl::Duration kBreak = absl::Seconds(1);
  static constexpr double kEnd = 0.5;

  // Takes note of the queue as it is at `now`; true while the server is saturated.
  bool Update(const RequestQueue::State& queue, absl::Time now);

 private:
  bool saturated_ = false;
  int64_t refusals_ = 0;
  absl::Time first_refusal_ = absl::InfinitePast();  // of those without a break
  absl::Time last_refusal_ = absl::InfinitePast();
};

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_SATURATION_H_
