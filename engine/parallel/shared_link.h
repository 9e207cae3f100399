// The link of ranks on one host, through memory that they share.
#ifndef TIDAL_ENGINE_PARALLEL_SHARED_LINK_H_
#define TIDAL_ENGINE_PARALLEL_SHARED_LINK_H_

#include <memory>

#include "engine/parallel/rank_link.h"
#include "kernels/ranks/rank_group.h"

namespace tidal {

// The group outlives the link; one link a group and rank.
std::unique_ptr<RankLink> MakeSharedLink(RankGroup* group);

}  // namespace tidal

#endif  // TIDAL_ENGINE_PARALLEL_SHARED_LINK_H_
