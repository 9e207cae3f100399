#include "server/observe/saturation.h"

#include <utility>

namespace tidal {

bool Saturation::Update(const RequestQueue::State& queue, absl::Time now) {
  if (std::exchange(refusals_, queue.refusals) != queue.refusals) {
    if (now - last_refusal_ > kBreak) first_refusal_ = now;
    last_refusal_ = now;
    if (now - first_refusal_ >= kBegin) saturated_ = true;
  }
  if (saturated_ && queue.fullness() <= kEnd) {
    saturated_ = false;
    first_refusal_ = last_refusal_ = absl::InfinitePast();
  }
  return saturated_;
}

}  // namespace tidal
