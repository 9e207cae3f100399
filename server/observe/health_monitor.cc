#include "server/observe/health_monitor.h"

#include <utility>

#include "absl/time/clock.h"
#include "scheduler/steady_time.h"
#include "server/observe/logging.h"

namespace tidal {

HealthMonitor::HealthMonitor(const ServingLoop* loop, HealthOptions options)
    : loop_(loop), options_(std::move(options)) {
  Look();
  thread_ = std::thread([this] {
    // A sleep and not a timed wait: that goes by the wall clock, which may be set.
    while (!stopping_.load()) {
      absl::SleepFor(kPeriod);
      Look();
    }
  });
}

HealthMonitor::~HealthMonitor() {
  stopping_.store(true);
  thread_.join();
}

void HealthMonitor::SetStarted() {
  absl::MutexLock lock(&mutex_);
  started_ = true;
  LookLocked();
}

void HealthMonitor::SetDraining() {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
  LookLocked();
}

void HealthMonitor::Look() {
  absl::MutexLock lock(&mutex_);
  LookLocked();
}

Health HealthMonitor::health() const {
  absl::MutexLock lock(&mutex_);
  return health_;
}

void HealthMonitor::LookLocked() {
  const LoopStats stats = loop_->stats();
  const absl::Time now = SteadyNow();
  Health next;
  next.queue = stats.queue;
  next.step_age = std::max(now - loop_->last_progress(), absl::ZeroDuration());
  next.stalled = next.step_age >= options_.watchdog_timeout;
  next.started = started_;
  next.live = loop_->healthy() && !next.stalled;
  const bool was_saturated = std::exchange(saturated_, saturation_.Update(stats.queue, now));
  next.accepting = started_ && next.live && !draining_;
  next.ready = next.accepting && !(saturated_ && options_.unready_when_saturated);
  LogChanges(stats, next);
  if (saturated_ != was_saturated) {
    Log(LogLevel::kWarning, saturated_ ? "the queue is full" : "the queue has room again",
        {{"waiting", stats.waiting}, {"waiting_tokens", stats.queue.waiting.tokens}});
  }
  health_ = next;
  if (options_.on_look) options_.on_look(next);
}

void HealthMonitor::LogChanges(const LoopStats& stats, const Health& next) const {
  if (next.stalled == health_.stalled) return;
  if (!next.stalled) {
    Log(LogLevel::kWarning, "the step that hung has ended after all");
    return;
  }
  Log(LogLevel::kError, "a step of the model hangs",
      {{"seconds", absl::ToInt64Seconds(next.step_age)},
       {"step_sequences", stats.step_sequences},
       {"step_tokens", stats.step_tokens},
       {"running", stats.running},
       {"waiting", stats.waiting}});
}

}  // namespace tidal
