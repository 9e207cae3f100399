#include "server/generation/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"

namespace tidal {
namespace {

TEST(WorkerPoolTest, RunsEverythingBeforeItEnds) {
  std::atomic<int> runs{0};
  {
    WorkerPool pool(3, 1000);
    for (int i = 0; i < 500; ++i) {
      EXPECT_TRUE(pool.TryPost([&runs] { ++runs; }));
      pool.Post([&runs] { ++runs; });
    }
  }
  EXPECT_EQ(runs, 1000);
}

TEST(WorkerPoolTest, NewWorkIsBoundedAndAcceptedWorkIsNot) {
  WorkerPool pool(1, 2);
  absl::Notification started, go_on;
  pool.Post([&] {
    started.Notify();
    go_on.WaitForNotification();
  });
  started.WaitForNotification();
  std::atomic<int> runs{0};
  EXPECT_TRUE(pool.TryPost([&runs] { ++runs; }));
  EXPECT_TRUE(pool.TryPost([&runs] { ++runs; }));
  EXPECT_FALSE(pool.TryPost([&runs] { runs += 100; }));
  absl::BlockingCounter last(1);
  pool.Post([&] {
    ++runs;
    last.DecrementCount();
  });
  go_on.Notify();
  last.Wait();
  EXPECT_EQ(runs, 3);
  EXPECT_TRUE(pool.TryPost([] {}));
}

TEST(WorkerPoolTest, TenantsTakeTurnsAndHaveEqualShares) {
  std::string order;  // of one thread
  {
    WorkerPool pool(1, 4, /*niceness=*/5);
    absl::Notification started, go_on;
    pool.Post([&] {
      started.Notify();
      go_on.WaitForNotification();
    });
    started.WaitForNotification();
    const auto post = [&](char name, const char* tenant) {
      return pool.TryPost([&order, name] { order += name; }, tenant);
    };
    for (const char name : {'a', 'b', 'c', 'd'}) EXPECT_TRUE(post(name, "greedy"));
    EXPECT_FALSE(post('x', "greedy"));
    EXPECT_TRUE(post('1', "modest"));
    EXPECT_TRUE(post('2', "modest"));
    EXPECT_FALSE(post('x', "modest"));  // two of them have two each
    EXPECT_TRUE(post('!', "third"));
    go_on.Notify();
  }
  EXPECT_EQ(order, "a1!b2cd");
}

TEST(WorkerPoolTest, JobsMayPostJobsAndOwnMoveOnlyThings) {
  std::atomic<int> sum{0};
  {
    WorkerPool pool(2, 10);
    pool.Post([&pool, &sum, value = std::make_unique<int>(7)] {
      sum += *value;
      pool.Post([&sum] { sum += 10; });
    });
  }
  EXPECT_EQ(sum, 17);
}

}  // namespace
}  // namespace tidal
