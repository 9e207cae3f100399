// Numbers of every rank, seen by every rank.
#ifndef TIDAL_KERNELS_RANKS_RANK_EXCHANGE_H_
#define TIDAL_KERNELS_RANKS_RANK_EXCHANGE_H_

#include <cstddef>
#include <cstdint>
#include <functional>

#include "kernels/ranks/rank_group.h"

namespace tidal {

// Bytes of a rank that an exchange shows at a time.
inline constexpr size_t kHostPiece = 4096;
inline constexpr size_t kBackendPiece = size_t{1} << 20;

// All ranks call it alike: the same sizes in the same order, each from one thread. What they give
// is cut into pieces, two of which each rank can have in the region: the next one is written while
// slower ranks still read the one before.
class RankExchange {
 public:
  // A piece: what each rank gave, [size] pointers in the order of ranks, which are good during the
  // call. `begin`: bytes of all before it.
  using Look = std::function<void(const char* const* pieces, size_t begin, size_t bytes)>;

  static size_t Bytes(int size, size_t piece);

  // `area`: Bytes() of the group's region, zeroed before the first rank came. The group outlives
  // it.
  RankExchange(RankGroup* group, char* area, size_t piece);

  int rank() const { return group_->rank(); }
  int num_ranks() const { return group_->size(); }

  // Gives `bytes` from `mine` and looks at everybody's. False when the group has failed.
  [[nodiscard]] bool Run(const void* mine, size_t bytes, const Look& look);

 private:
  char* Piece(int rank, uint32_t round) const;

  RankGroup* const group_;
  SharedCounter* const rounds_;  // [size], the pieces each rank has given
  char* const pieces_;           // [size, 2, piece]
  const size_t piece_;
  uint32_t round_ = 0;
};

}  // namespace tidal

#endif  // TIDAL_KERNELS_RANKS_RANK_EXCHANGE_H_
