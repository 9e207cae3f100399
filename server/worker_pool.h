// A few threads for work that must stay off the serving loop and off gRPC's threads: tokenizing,
// detokenizing, assembling replies.
#ifndef TIDAL_SERVER_WORKER_POOL_H_
#define TIDAL_SERVER_WORKER_POOL_H_

#include <cstddef>
#include <deque>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace tidal {

// Thread-safe. Jobs start in the order they were posted.
class WorkerPool {
 public:
  using Job = absl::AnyInvocable<void()>;

  // capacity: jobs that TryPost lets wait, beside those that run.
  WorkerPool(int num_threads, size_t capacity);
  ~WorkerPool();  // runs what was posted, then ends the threads
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // For new work. False, and the job is dropped, when `capacity` jobs wait.
  [[nodiscard]] bool TryPost(Job job);

  // For accepted work, which must go on. The caller keeps it bounded: a generation has at most one
  // job here at a time.
  void Post(Job job);

 private:
  void Run();
  bool HasJobOrStops() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !jobs_.empty();
  }

  const size_t capacity_;
  absl::Mutex mutex_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_WORKER_POOL_H_
