// The ranks of one host that compute a model together: one process each, which share a region of
// memory. Here is what makes them a group: numbers to wait for, and one failure for all.
#ifndef TIDAL_KERNELS_RANKS_RANK_GROUP_H_
#define TIDAL_KERNELS_RANKS_RANK_GROUP_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/ranks/shared_region.h"

namespace tidal {

// A number that only grows (modulo 2^32), set by one rank. In shared memory; zeroed is ready.
struct alignas(64) SharedCounter {
  std::atomic<uint32_t> value;
  std::atomic<uint32_t> sleepers;  // who must be woken
};

// Thread-safe.
class RankGroup {
 public:
  static constexpr int kMaxRanks = 64;

  // A new group, of which this process is rank 0. Null when there is no memory for it.
  static std::unique_ptr<RankGroup> Create(int size);
  // The group whose region rank 0 made; takes over the descriptor. Null when `fd` is none or the
  // group has no such rank.
  static std::unique_ptr<RankGroup> Join(int fd, int rank);
  // A rank beside another in one process, for tests: they share one view of the region.
  std::unique_ptr<RankGroup> JoinHere(int rank) const;

  int rank() const { return rank_; }
  int size() const { return size_; }
  int fd() const { return region_->fd(); }

  // Ends the group: whoever waits returns, now and for ever. The first failure is the one told.
  // `rank`: whose fault it is.
  void Fail(int rank, std::string_view reason);
  bool failed() const;
  int failed_rank() const;  // whose fault it was; precondition: failed()
  // "rank 1 of 2: ended by signal 9"; empty while all is well.
  std::string failure() const;
  // Not 0 when the group has failed. In a page of shared memory that holds nothing but such words:
  // for whoever looks at it in a way of its own.
  const std::atomic<uint32_t>* failed_word() const;

  // Tells that this rank is alive, and whether another did since the last look.
  void Beat();
  uint32_t beats(int rank) const;

  void Set(SharedCounter& counter, uint32_t value);
  // Returns when the counter has reached `value`: true; or when the group has failed: false.
  [[nodiscard]] bool WaitFor(SharedCounter& counter, uint32_t value);
  // The same for a while: false when the counter has not reached it by then.
  [[nodiscard]] bool WaitFor(SharedCounter& counter, uint32_t value,
                             std::chrono::milliseconds patience);

  // Parts of the region, each with one user on every rank.
  char* stream_area() const;   // of a RankStream
  char* host_area() const;     // of the RankExchange of the engines
  char* backend_area() const;  // of that of the back ends

 private:
  struct Control;
  RankGroup(std::shared_ptr<SharedRegion> region, int rank);
  Control& control() const;

  std::shared_ptr<SharedRegion> region_;
  int rank_, size_;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_RANKS_RANK_GROUP_H_
