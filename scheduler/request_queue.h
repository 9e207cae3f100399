// The inbox of the serving loop: what other threads ask of it.
#ifndef TIDAL_SCHEDULER_REQUEST_QUEUE_H_
#define TIDAL_SCHEDULER_REQUEST_QUEUE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/base/ids.h"
#include "scheduler/request.h"

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

  // At most `capacity` requests wait, here and at the receiver together. Closed until Open().
  explicit RequestQueue(int32_t capacity);

  // Senders. Submit gives RESOURCE_EXHAUSTED when full, the status of Close() when closed.
  absl::Status Submit(std::unique_ptr<Request> request);
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
  // Receiver: so many of the requests it has taken wait for admission. Until it says so, all it
  // took last count as waiting.
  void ReportWaiting(int32_t num_waiting);
  // Receiver: so many more of the accepted requests have ended.
  void ReportEnded(int32_t num_ended);

  // Waits until every accepted request has been reported as ended; false when `deadline` passes
  // first.
  bool WaitUntilNoneLeft(absl::Time deadline);

  int32_t num_waiting() const;  // here and at the receiver
  bool HasWork() const;

 private:
  int32_t NumWaitingLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasWorkLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool NoneLeft() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return num_live_ == 0; }

  const int32_t capacity_;
  mutable absl::Mutex mutex_;
  Inbox inbox_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<SequenceId> cancelled_ ABSL_GUARDED_BY(mutex_);  // each id once
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);                        // ok = open
  int32_t num_waiting_ ABSL_GUARDED_BY(mutex_) = 0;                    // at the receiver
  int64_t num_live_ ABSL_GUARDED_BY(mutex_) = 0;                       // accepted, not ended
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_REQUEST_QUEUE_H_
