// How the processes of a model's ranks reach each other: rank 0 tells the others what to run, and
// all agree on numbers. What their devices exchange is RankOps' (kernels/).
#ifndef TIDAL_ENGINE_PARALLEL_RANK_LINK_H_
#define TIDAL_ENGINE_PARALLEL_RANK_LINK_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace tidal {

// One thread a rank. An error is UNAVAILABLE and final: the group has failed, and it says whose
// fault that was.
class RankLink {
 public:
  virtual ~RankLink() = default;
  virtual int32_t rank() const = 0;
  virtual int32_t size() const = 0;

  // Rank 0: one message to every other rank.
  virtual absl::Status Send(absl::Span<const char> message) = 0;
  // Others: the next message; false when none came within `patience`.
  virtual absl::StatusOr<bool> Receive(absl::Duration patience, std::vector<char>* message) = 0;
  // What every rank gives, in their order. All call it, at the same place among messages.
  virtual absl::StatusOr<std::vector<int64_t>> Gather(int64_t mine) = 0;
  // This rank cannot go on: ends the group. Thread-safe.
  virtual void Fail(absl::string_view reason) = 0;
};

// The least number that a rank gives; without a link, `mine`.
absl::StatusOr<int64_t> LeastOfRanks(RankLink* link, int64_t mine);

}  // namespace tidal

#endif  // TIDAL_ENGINE_PARALLEL_RANK_LINK_H_
