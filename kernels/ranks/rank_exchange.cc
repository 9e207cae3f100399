#include "kernels/ranks/rank_exchange.h"

#include <algorithm>
#include <cstring>

namespace tidal {

size_t RankExchange::Bytes(int size, size_t piece) {
  return size * (sizeof(SharedCounter) + 2 * piece);
}

RankExchange::RankExchange(RankGroup* group, char* area, size_t piece)
    : group_(group),
      rounds_(reinterpret_cast<SharedCounter*>(area)),
      pieces_(area + group->size() * sizeof(SharedCounter)),
      piece_(piece) {}

char* RankExchange::Piece(int rank, uint32_t round) const {
  return pieces_ + (size_t{2} * rank + round % 2) * piece_;
}

// Whoever has given round n has read all of round n - 1, so nobody reads the piece that round n + 1
// overwrites once all have given round n.
bool RankExchange::Run(const void* mine, size_t bytes, const Look& look) {
  const char* pieces[RankGroup::kMaxRanks];
  for (size_t begin = 0; begin < bytes; begin += piece_) {
    const size_t count = std::min(piece_, bytes - begin);
    ++round_;
    std::memcpy(Piece(group_->rank(), round_), static_cast<const char*>(mine) + begin, count);
    group_->Set(rounds_[group_->rank()], round_);
    for (int rank = 0; rank < group_->size(); ++rank) {
      if (!group_->WaitFor(rounds_[rank], round_)) return false;
      pieces[rank] = Piece(rank, round_);
    }
    look(pieces, begin, count);
  }
  return true;
}

}  // namespace tidal
