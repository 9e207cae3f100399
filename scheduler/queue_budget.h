// How much may wait, from what the model has been measured to do: arithmetic only.
//
// The unit is the token: a request weighs its prompt and the output it is expected to have, which
// is also the KV cache it will fill. While something waits, the model runs as fast as it can; the
// tokens it then serves in a second say how long a queue of so many tokens takes.
#ifndef TIDAL_SCHEDULER_QUEUE_BUDGET_H_
#define TIDAL_SCHEDULER_QUEUE_BUDGET_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "scheduler/queue_load.h"
#include "scheduler/scheduler_config.h"

namespace tidal {

// Not thread-safe.
class QueueBudget {
 public:
  // Bounds of RetryAfter().
  static constexpr absl::Duration kShortestRetry = absl::Seconds(1);
  static constexpr absl::Duration kLongestRetry = absl::Seconds(60);

  explicit QueueBudget(const SchedulerConfig& config);

  // A step has served so many tokens, those found in the prefix cache included. `full`: requests
  // were left waiting, so it was all that the model can do.
  void OnStep(int64_t tokens, absl::Duration elapsed, bool full);
  // An output of so many tokens has ended.
  void OnOutput(int32_t tokens);
  // A request of so much was refused.
  void OnRefusal(int64_t tokens);

  // What a request weighs: of its max_tokens as many as outputs usually have.
  int64_t ExpectedTokens(int64_t prompt_tokens, int64_t max_tokens) const;

  // May `wanted` of this tenant wait beside what waits? Yes, if one of these holds:
  //  - it can start at once: `startable` (free seats and free cache) has room for all that waits
  //    and for it
  //  - nothing waits, so that no request is too large to be ever accepted
  //  - all together stay within the limits
  //  - the tenant stays within an equal share of the limits: who fills the queue does not close it
  //    for others
  // So k tenants together may hold (1 + 1/2 + ... + 1/k) times the limits.
  bool HasRoom(const TenantLoads& waiting, const QueueLoad& startable, absl::string_view tenant,
               const QueueLoad& wanted) const;

  // Whole seconds after which a refused request finds room, if everybody who was refused comes
  // again when told to.
  absl::Duration RetryAfter() const;

  // The most tokens that may wait: the configured number, else what is served in half of the
  // longest wait (the other half is for what the estimate may be wrong by). Until that is measured,
  // what the cache holds.
  int64_t token_limit() const;
  // Tokens a second at full load; 0 = not measured yet.
  double rate() const;

 private:
  bool Fits(const QueueLoad& load, int32_t shares) const;

  const int32_t max_requests_;
  const int64_t max_tokens_;  // 0 = by the rate
  const absl::Duration max_wait_;
  const int64_t cache_tokens_;
  double recent_tokens_ = 0, recent_seconds_ = 0;  // of full steps, older ones faded
  double output_tokens_;                           // of a usual output
  double refused_tokens_ = 0;                      // refused and not made up for since
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_QUEUE_BUDGET_H_
