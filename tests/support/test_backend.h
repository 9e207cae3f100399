// The back end that the engine's tests run on.
#ifndef TIDAL_TESTS_SUPPORT_TEST_BACKEND_H_
#define TIDAL_TESTS_SUPPORT_TEST_BACKEND_H_

#include <memory>

#include "kernels/backend.h"
#include "kernels/ranks/rank_group.h"

namespace tidal {

// The device named by the environment variable TIDAL_TEST_DEVICE, "cpu" when it is not set. Aborts
// the test when it cannot be used.
std::unique_ptr<Backend> MakeTestBackend();
// The same with one of several ranks, of one CPU thread, or on the one GPU where there are not as
// many as ranks.
std::unique_ptr<Backend> MakeTestBackend(RankGroup* group);

// The CPU computes every row of a step alike, whatever its batch. A GPU's matrix products may add
// in another order when the number of rows changes.
bool BatchesAreBitwiseEqual();

}  // namespace tidal

#endif  // TIDAL_TESTS_SUPPORT_TEST_BACKEND_H_
