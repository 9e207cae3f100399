// Ranks as threads of one process.
#ifndef TIDAL_TESTS_SUPPORT_TEST_GROUP_H_
#define TIDAL_TESTS_SUPPORT_TEST_GROUP_H_

#include <functional>
#include <memory>
#include <vector>

#include "kernels/ranks/rank_group.h"

namespace tidal {

// The group as each of `size` ranks has it. Aborts the test when there is no memory for it. They
// have one view of what they share, so that the thread sanitizer sees who writes it, or each its
// own, as processes have.
std::vector<std::unique_ptr<RankGroup>> MakeTestGroup(int size, bool own_views = false);

// work(0), work(1), ... at the same time; returns when all have.
void OnEachRank(int size, const std::function<void(int rank)>& work);

}  // namespace tidal

#endif  // TIDAL_TESTS_SUPPORT_TEST_GROUP_H_
