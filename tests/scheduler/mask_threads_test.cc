#include "scheduler/mask_threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace tidal {
namespace {

TEST(MaskThreadsTest, EveryIndexOnceWhateverTheThreads) {
  for (const int32_t num_threads : {1, 2, 5}) {
    MaskThreads threads(num_threads);
    for (int32_t round = 0; round < 300; ++round) {
      const int32_t count = round % 40;
      std::vector<std::atomic<int32_t>> seen(count);
      threads.ForEach(count, [&](int32_t i) { ++seen[i]; });
      for (int32_t i = 0; i < count; ++i) ASSERT_EQ(seen[i], 1) << i << " of " << count;
    }
  }
}

}  // namespace
}  // namespace tidal
