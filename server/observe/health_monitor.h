// Watches the serving loop and says what probes are told.
//
//   started  the model is loaded and has run a step
//   live     the model works: not broken, and no step has hung for watchdog_timeout; what is not
//            live should be restarted
//   ready    started, live, not draining and not saturated: new requests are welcome
//   accepting  the same but for saturation, of which a refused request is told with the time to
//            come again
#ifndef TIDAL_SERVER_OBSERVE_HEALTH_MONITOR_H_
#define TIDAL_SERVER_OBSERVE_HEALTH_MONITOR_H_

#include <atomic>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "scheduler/serving_loop.h"
#include "server/observe/saturation.h"

namespace tidal {

struct Health {
  bool started = false, live = false, ready = false, accepting = false;
  bool stalled = false;     // a step hangs
  absl::Duration step_age;  // since the last step ended; 0 while there is nothing to do
  RequestQueue::State queue;
};

struct HealthOptions {
  absl::Duration watchdog_timeout = absl::Seconds(120);
  bool unready_when_saturated = true;
  // Gets every look at the loop, on the thread that took it, one at a time. Must not call the
  // monitor.
  std::function<void(const Health&)> on_look;
};

// Thread-safe. Has a thread that looks at the loop all the time, and looks at once when told of a
// change.
class HealthMonitor {
 public:
  static constexpr absl::Duration kPeriod = absl::Milliseconds(50);

  // `loop` outlives it.
  HealthMonitor(const ServingLoop* loop, HealthOptions options);
  ~HealthMonitor();

  void SetStarted();
  void SetDraining();
  void Look();

  Health health() const;

 private:
  void LookLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LogChanges(const LoopStats& stats, const Health& next) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ServingLoop* const loop_;
  const HealthOptions options_;
  mutable absl::Mutex mutex_;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  Saturation saturation_ ABSL_GUARDED_BY(mutex_);
  bool saturated_ ABSL_GUARDED_BY(mutex_) = false;
  Health health_ ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> stopping_{false};
  std::thread thread_;  // last: it uses the rest
};

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_HEALTH_MONITOR_H_
