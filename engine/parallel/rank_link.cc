#include "engine/parallel/rank_link.h"

#include <algorithm>

#include "engine/base/status_macros.h"

namespace tidal {

absl::StatusOr<int64_t> LeastOfRanks(RankLink* link, int64_t mine) {
  if (link == nullptr) return mine;
  TIDAL_ASSIGN_OR_RETURN(const std::vector<int64_t> all, link->Gather(mine));
  return *std::min_element(all.begin(), all.end());
}

}  // namespace tidal
