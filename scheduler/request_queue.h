// The inbox of the serving loop: what other threads ask of it.
#ifndef TIDAL_SCHEDULER_REQUEST_QUEUE_H_
#define TIDAL_SCHEDULER_REQUEST_QUEUE_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/base/ids.h"
#include "scheduler/queue_budget.h"
#include "scheduler/queue_load.h"
#include "scheduler/request.h"
#include "scheduler/scheduler_config.h"

namespace tidal {

// Thread-safe: any number of senders, one receiver (the loop's thread).
class RequestQueue {
 public:
  // Everything that has come in, in order; cancellations may name requests submitted beside them.
  struct Inbox {
    std::vector<std::unique_ptr<Request>> submitted;
    std::vector<SequenceId> cancelled;
    std::optional<absl::Status> cancel_all;  // with this status; after `submitted`
    bool stop = false;
  };

  // What waits, and how much may: numbers for metrics and health.
  struct State {
    QueueLoad waiting;  // here and at the receiver
    int32_t request_limit = 1;
    int64_t token_limit = 1;
    double tokens_per_second = 0;  // at full load; 0 = not measured yet
    absl::Duration retry_after;    // what a request refused now is told
    int64_t refusals = 0;          // for want of room, since start

    // 1 is full.
    double fullness() const {
      return std::max(static_cast<double>(waiting.requests) / request_limit,
                      static_cast<double>(waiting.tokens) / static_cast<double>(token_limit));
    }
  };

  // Closed until Open().
  explicit RequestQueue(const SchedulerConfig& config);

  // Senders. Takes all of the requests, which are of one tenant, or none: RESOURCE_EXHAUSTED with a
  // RetryAfterOf() where QueueBudget has no room, the status of Close() when closed.
  absl::Status Submit(std::vector<std::unique_ptr<Request>> requests);
  // What Submit() would answer to as many requests with prompts of at least so many tokens.
  absl::Status CheckRoom(absl::string_view tenant, int32_t num_requests, int64_t prompt_tokens);
  void Cancel(SequenceId id);
  void CancelAll(absl::Status status);
  void Stop();

  void Open();
  // Refuses new requests from now on; a later Close() changes the reason.
  void Close(absl::Status reason);

  // Receiver: takes what is there; does not wait.
  Inbox TakeAll();
  // Receiver: waits until there is something to take.
  void WaitForWork();
  // Receiver: the requests it has taken that wait for admission, and what it could admit. Until it
  // says so, all it took last count as waiting.
  void ReportWaiting(const TenantLoads& waiting, const QueueLoad& startable);
  // Receiver: a step has ended; see QueueBudget::OnStep.
  void ReportStep(int64_t tokens, absl::Duration elapsed, bool full);
  // Receiver: an output has ended by itself.
  void ReportOutput(int32_t tokens);
  // Receiver: so many more of the accepted requests have ended.
  void ReportEnded(int32_t num_ended);

  // Waits until every accepted request has been reported as ended; false when `deadline`, a
  // SteadyNow(), passes first.
  bool WaitUntilNoneLeft(absl::Time deadline);

  State state() const;
  bool HasWork() const;

 private:
  bool HasWorkLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckRoomLocked(absl::string_view tenant, const QueueLoad& wanted)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool NoneLeft() const;

  const SchedulerConfig config_;
  mutable absl::Mutex mutex_;
  QueueBudget budget_ ABSL_GUARDED_BY(mutex_);
  TenantLoads waiting_ ABSL_GUARDED_BY(mutex_);  // in the inbox and at the receiver
  QueueLoad startable_ ABSL_GUARDED_BY(mutex_);  // at the receiver, as it last said
  Inbox inbox_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<SequenceId> cancelled_ ABSL_GUARDED_BY(mutex_);  // each id once
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);                        // ok = open
  int64_t num_live_ ABSL_GUARDED_BY(mutex_) = 0;                       // accepted, not ended
  int64_t refusals_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_REQUEST_QUEUE_H_
