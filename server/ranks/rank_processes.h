// The processes of ranks 1, 2, ...: children of rank 0's, which watch it as it watches them.
#ifndef TIDAL_SERVER_RANKS_RANK_PROCESSES_H_
#define TIDAL_SERVER_RANKS_RANK_PROCESSES_H_

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/ranks/rank_group.h"

namespace tidal {

// A rank that ends, or is not seen to live for most of a second, fails the group, and a group that
// has failed ends within a second: no rank outlives another.
class RankProcesses {
 public:
  // Starts size - 1 processes, each a copy of this one, which must have one thread only and ends
  // last: it is rank 0. Each runs `run` and ends with what that returns; a status other than 0 is a
  // failure of the group. RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<RankProcesses>> Start(
      int size, const std::function<int(RankGroup* group)>& run);
  // Waits for the others, which have been told to end, and kills those that do not.
  ~RankProcesses();

  // Watches from now on. `on_failure` is called once, from another thread, when the group has
  // failed: it says whose fault that is.
  void Watch(std::function<void(const std::string& failure)> on_failure);

  RankGroup* group() { return group_.get(); }

 private:
  struct Child {
    int rank;
    pid_t pid;
    bool ended = false;
  };

  RankProcesses() = default;
  void LookAtChildren();
  bool AllEnded() const;

  std::unique_ptr<RankGroup> group_;
  std::vector<Child> children_;  // of the watching thread while there is one
  std::atomic<bool> stopping_{false};
  std::thread watch_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_RANKS_RANK_PROCESSES_H_
