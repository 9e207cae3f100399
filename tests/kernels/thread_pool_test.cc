#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace tidal::cpu {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 3, 4));

TEST_P(ThreadPoolTest, RunsEachIndexOnce) {
  ThreadPool pool(GetParam());
  EXPECT_EQ(pool.num_threads(), GetParam());
  for (const int32_t count : {0, 1, 2, 3, 100, 10000}) {
    std::vector<int> calls(count);  // each element is written by one index only
    pool.ParallelFor(count, [&](int32_t i, int worker) {
      ++calls[i];
      EXPECT_GE(worker, 0);
      EXPECT_LT(worker, GetParam());
    });
    EXPECT_EQ(calls, std::vector<int>(count, 1));
  }
}

TEST_P(ThreadPoolTest, ALoopSeesWhatTheLoopBeforeWrote) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> a(64, 1), b(64);
  for (int step = 0; step < 1000; ++step) {
    pool.ParallelFor(64, [&](int32_t i, int) { b[i] = a[(i + 1) % 64] + 1; });
    pool.ParallelFor(64, [&](int32_t i, int) { a[i] = b[(i + 63) % 64]; });
  }
  for (int64_t x : a) EXPECT_EQ(x, 1001);
}

TEST_P(ThreadPoolTest, AWorkerRunsOneIndexAtATime) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> sums(GetParam() * 16);  // a cache line apart, written without a lock
  for (int round = 0; round < 200; ++round) {
    pool.ParallelFor(50, [&](int32_t i, int worker) { sums[worker * 16] += i; });
  }
  int64_t sum = 0;
  for (int64_t x : sums) sum += x;
  EXPECT_EQ(sum, 200 * 49 * 50 / 2);
}

TEST_P(ThreadPoolTest, SleepingWorkersWakeForTheNextLoop) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than workers spin
    std::atomic<int> calls = 0;
    pool.ParallelFor(20, [&](int32_t, int) { ++calls; });
    EXPECT_EQ(calls, 20);
  }
}

TEST_P(ThreadPoolTest, PoolsComeAndGo) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool(GetParam());
    std::atomic<int> calls = 0;
    if (round % 2 == 0) pool.ParallelFor(3, [&](int32_t, int) { ++calls; });
    EXPECT_EQ(calls, round % 2 == 0 ? 3 : 0);
  }
}

}  // namespace
}  // namespace tidal::cpu
