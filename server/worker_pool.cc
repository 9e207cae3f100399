#include "server/worker_pool.h"

#include <algorithm>
#include <utility>

namespace tidal {

WorkerPool::WorkerPool(int num_threads, size_t capacity) : capacity_(capacity) {
  threads_.reserve(std::max(1, num_threads));
  for (int i = 0; i < std::max(1, num_threads); ++i) {
    threads_.emplace_back([this] { Run(); });
  }
}

WorkerPool::~WorkerPool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

bool WorkerPool::TryPost(Job job) {
  absl::MutexLock lock(&mutex_);
  if (jobs_.size() >= capacity_) return false;
  jobs_.push_back(std::move(job));
  return true;
}

void WorkerPool::Post(Job job) {
  absl::MutexLock lock(&mutex_);
  jobs_.push_back(std::move(job));
}

void WorkerPool::Run() {
  while (true) {
    Job job;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &WorkerPool::HasJobOrStops));
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace tidal
