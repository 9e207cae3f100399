#include "scheduler/mask_threads.h"

namespace tidal {
namespace {

constexpr int32_t kFewest = 4;  // below, waking others takes longer than the work

}  // namespace

MaskThreads::MaskThreads(int32_t num_threads) {
  for (int32_t i = 1; i < num_threads; ++i) threads_.emplace_back([this] { Work(); });
}

MaskThreads::~MaskThreads() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void MaskThreads::ForEach(int32_t count, const std::function<void(int32_t)>& run) {
  next_.store(0);
  if (count < kFewest || threads_.empty()) return RunSome(count, run);
  {
    absl::MutexLock lock(&mutex_);
    run_ = &run;
    count_ = count;
    ++round_;
  }
  RunSome(count, run);
  absl::MutexLock lock(&mutex_);
  run_ = nullptr;  // who wakes only now comes too late
  const auto done = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return busy_ == 0; };
  mutex_.Await(absl::Condition(&done));
}

void MaskThreads::Work() {
  int64_t seen = 0;
  for (;;) {
    const std::function<void(int32_t)>* run = nullptr;
    int32_t count = 0;
    {
      absl::MutexLock lock(&mutex_);
      const auto ready = [this, seen]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
        return stopping_ || (run_ != nullptr && round_ != seen);
      };
      mutex_.Await(absl::Condition(&ready));
      if (stopping_) return;
      seen = round_;
      run = run_;
      count = count_;
      ++busy_;
    }
    RunSome(count, *run);
    absl::MutexLock lock(&mutex_);
    --busy_;
  }
}

void MaskThreads::RunSome(int32_t count, const std::function<void(int32_t)>& run) {
  for (int32_t i = next_++; i < count; i = next_++) run(i);
}

}  // namespace tidal
