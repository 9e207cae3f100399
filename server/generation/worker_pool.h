// A few threads for work that must stay off the serving loop and off gRPC's threads: tokenizing,
// detokenizing, assembling replies.
#ifndef TIDAL_SERVER_GENERATION_WORKER_POOL_H_
#define TIDAL_SERVER_GENERATION_WORKER_POOL_H_

#include <cstddef>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace tidal {

// Thread-safe. Tenants take turns; the jobs of one start in the order they were posted.
class WorkerPool {
 public:
  using Job = absl::AnyInvocable<void()>;

  // capacity: jobs that TryPost lets wait, beside those that run.
  // niceness: how far the threads stand back where cores are scarce, as nice(1) has it.
  WorkerPool(int num_threads, size_t capacity, int niceness = 0);
  ~WorkerPool();  // runs what was posted, then ends the threads
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // For new work. False, and the job is dropped, when `capacity` jobs wait and this tenant has its
  // equal share of them: who fills the queue does not close it for others. So k tenants together
  // may have (1 + 1/2 + ... + 1/k) times the capacity.
  [[nodiscard]] bool TryPost(Job job, const std::string& tenant = "");

  // For accepted work, which must go on. The caller keeps it bounded: a generation has at most one
  // job here at a time.
  void Post(Job job);

 private:
  void Run(int niceness);
  void Push(Job job, const std::string& tenant) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Job Pop() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasJobOrStops() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || num_waiting_ > 0;
  }

  const size_t capacity_;
  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, std::deque<Job>> waiting_ ABSL_GUARDED_BY(mutex_);  // by tenant
  std::deque<std::string> turns_ ABSL_GUARDED_BY(mutex_);  // each tenant of waiting_ once
  size_t num_waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_GENERATION_WORKER_POOL_H_
