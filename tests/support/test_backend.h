// The back end that the engine's tests run on.
#ifndef TIDAL_TESTS_SUPPORT_TEST_BACKEND_H_
#define TIDAL_TESTS_SUPPORT_TEST_BACKEND_H_

#include <memory>

#include "kernels/backend.h"

namespace tidal {

// The device named by the environment variable TIDAL_TEST_DEVICE, "cpu" when it is not set. Aborts
// the test when it cannot be used.
std::unique_ptr<Backend> MakeTestBackend();

// The CPU computes every row of a step alike, whatever its batch. A GPU's matrix products may add
// in another order when the number of rows changes.
bool BatchesAreBitwiseEqual();

}  // namespace tidal

#endif  // TIDAL_TESTS_SUPPORT_TEST_BACKEND_H_
