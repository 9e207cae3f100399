// Threads that fill the masks of a step beside the loop's: one mask takes some 50 microseconds, and
// a step may want as many as it has sequences.
#ifndef TIDAL_SCHEDULER_MASK_THREADS_H_
#define TIDAL_SCHEDULER_MASK_THREADS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace tidal {

// One caller at a time.
class MaskThreads {
 public:
  // The caller's thread is one of `num_threads`.
  explicit MaskThreads(int32_t num_threads);
  ~MaskThreads();
  MaskThreads(const MaskThreads&) = delete;
  MaskThreads& operator=(const MaskThreads&) = delete;

  // Calls run(0) ... run(count - 1), each once, on any of the threads, and returns after the last.
  void ForEach(int32_t count, const std::function<void(int32_t)>& run);

 private:
  void Work();
  void RunSome(int32_t count, const std::function<void(int32_t)>& run);

  std::atomic<int32_t> next_{0};
  absl::Mutex mutex_;
  const std::function<void(int32_t)>* run_ ABSL_GUARDED_BY(mutex_) = nullptr;  // null: no work
  int32_t count_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t round_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t busy_ ABSL_GUARDED_BY(mutex_) = 0;  // threads in this round
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_MASK_THREADS_H_
