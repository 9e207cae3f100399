#include "server/generation/worker_pool.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace tidal {

WorkerPool::WorkerPool(int num_threads, size_t capacity, int niceness) : capacity_(capacity) {
  threads_.reserve(std::max(1, num_threads));
  for (int i = 0; i < std::max(1, num_threads); ++i) {
    threads_.emplace_back([this, niceness] { Run(niceness); });
  }
}

WorkerPool::~WorkerPool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

bool WorkerPool::TryPost(Job job, const std::string& tenant) {
  absl::MutexLock lock(&mutex_);
  if (num_waiting_ >= capacity_) {
    const auto own = waiting_.find(tenant);
    const size_t share = capacity_ / (waiting_.size() + (own == waiting_.end() ? 1 : 0));
    if ((own == waiting_.end() ? 0 : own->second.size()) >= share) return false;
  }
  Push(std::move(job), tenant);
  return true;
}

void WorkerPool::Post(Job job) {
  absl::MutexLock lock(&mutex_);
  Push(std::move(job), "");
}

void WorkerPool::Push(Job job, const std::string& tenant) {
  std::deque<Job>& jobs = waiting_[tenant];
  if (jobs.empty()) turns_.push_back(tenant);
  jobs.push_back(std::move(job));
  ++num_waiting_;
}

WorkerPool::Job WorkerPool::Pop() {
  const auto tenant = waiting_.find(turns_.front());
  Job job = std::move(tenant->second.front());
  tenant->second.pop_front();
  --num_waiting_;
  if (tenant->second.empty()) {
    waiting_.erase(tenant);
  } else {
    turns_.push_back(tenant->first);
  }
  turns_.pop_front();
  return job;
}

void WorkerPool::Run(int niceness) {
  // On Linux a thread has its own. Where it may not be set, the threads are as all others.
  if (niceness > 0) setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), niceness);
  while (true) {
    Job job;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &WorkerPool::HasJobOrStops));
      if (num_waiting_ == 0) return;
      job = Pop();
    }
    job();
  }
}

}  // namespace tidal
