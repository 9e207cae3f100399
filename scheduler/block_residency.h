// How long the KV cache keeps blocks and how soon it uses them again: what says whether it is large
// enough.
#ifndef TIDAL_SCHEDULER_BLOCK_RESIDENCY_H_
#define TIDAL_SCHEDULER_BLOCK_RESIDENCY_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "engine/base/ids.h"

namespace tidal {

// A block is used when it is taken for new tokens and each time a prefix is found in it.
struct BlockUse {
  // Of each block evicted from the prefix cache: since it was taken, and since its last use.
  std::vector<absl::Duration> lifetimes, idle_times;
  std::vector<absl::Duration> reuse_gaps;  // of each prefix hit: since the use before

  bool empty() const { return lifetimes.empty() && reuse_gaps.empty(); }
};

// Not thread-safe.
class BlockResidency {
 public:
  explicit BlockResidency(int32_t num_blocks) : times_(num_blocks) {}

  // The time of what follows.
  void SetNow(absl::Time now) { now_ = now; }
  void OnTaken(BlockId block) { times_[block] = {now_, now_}; }
  void OnFound(BlockId block) {
    use_.reuse_gaps.push_back(now_ - std::exchange(times_[block].last_use, now_));
  }
  void OnEvicted(BlockId block) {
    use_.lifetimes.push_back(now_ - times_[block].taken);
    use_.idle_times.push_back(now_ - times_[block].last_use);
  }

  // What happened since it was last asked.
  BlockUse TakeUse() { return std::exchange(use_, BlockUse{}); }

 private:
  struct Times {
    absl::Time taken, last_use;
  };

  absl::Time now_ = absl::UnixEpoch();
  std::vector<Times> times_;  // [num_blocks]
  BlockUse use_;
};

}  // namespace tidal

#endif  // TIDAL_SCHEDULER_BLOCK_RESIDENCY_H_
