#include "scheduler/fair_order.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;

// Requests in the order that FairOrder says.
class Queue {
 public:
  void Enter(const std::string& tenant, int64_t tokens, int32_t priority = 0) {
    const int64_t turn = order_.Enter(priority, tenant, tokens);
    waiting_[{priority, turn, next_++}] = {tenant, tokens};
  }
  // The tenant of the next.
  std::string Serve() {
    const auto [key, request] = *waiting_.begin();
    waiting_.erase(waiting_.begin());
    order_.Serve(std::get<0>(key), request.tenant, std::get<1>(key));
    served_[request.tenant] += request.tokens;
    return request.tenant;
  }
  // All requests of a tenant are withdrawn.
  void Withdraw(const std::string& tenant) {
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if (it->second.tenant != tenant) {
        ++it;
        continue;
      }
      order_.Leave(std::get<0>(it->first), tenant);
      it = waiting_.erase(it);
    }
  }
  std::vector<std::string> ServeAll() {
    std::vector<std::string> tenants;
    while (!waiting_.empty()) tenants.push_back(Serve());
    return tenants;
  }
  bool empty() const { return waiting_.empty(); }
  int64_t served(const std::string& tenant) { return served_[tenant]; }

 private:
  struct Waiting {
    std::string tenant;
    int64_t tokens;
  };
  FairOrder order_;
  std::map<std::tuple<int32_t, int64_t, int64_t>, Waiting> waiting_;
  std::map<std::string, int64_t> served_;
  int64_t next_ = 0;
};

TEST(FairOrderTest, OneTenantIsServedInTheOrderOfArrival) {
  FairOrder order;
  int64_t last = order.Enter(0, "", 10);
  for (int32_t i = 0; i < 100; ++i) {
    const int64_t turn = order.Enter(0, "", i % 7);
    EXPECT_GE(turn, last);
    last = turn;
  }
}

TEST(FairOrderTest, OneRequestIsNotBehindAThousandOfAnother) {
  Queue queue;
  for (int32_t i = 0; i < 1000; ++i) queue.Enter("many", 100);
  EXPECT_EQ(queue.Serve(), "many");
  queue.Enter("one", 100);
  EXPECT_EQ(queue.Serve(), "one");
}

TEST(FairOrderTest, TokensCountNotRequests) {
  Queue queue;
  for (int32_t i = 0; i < 3; ++i) queue.Enter("long", 300);
  for (int32_t i = 0; i < 9; ++i) queue.Enter("short", 100);
  EXPECT_THAT(queue.ServeAll(), ElementsAre("long", "short", "short", "short", "long", "short",
                                            "short", "short", "long", "short", "short", "short"));
}

TEST(FairOrderTest, APriorityIsFairByItself) {
  Queue queue;
  for (int32_t i = 0; i < 100; ++i) queue.Enter("a", 100, /*priority=*/5);
  queue.Enter("b", 100, 0);
  queue.Enter("b", 100, 0);
  queue.Enter("a", 100, 0);
  EXPECT_EQ(queue.Serve(), "b");
  EXPECT_EQ(queue.Serve(), "a") << "what it has waiting at another priority does not count";
  EXPECT_EQ(queue.Serve(), "b");
  EXPECT_EQ(queue.Serve(), "a");
}

TEST(FairOrderTest, ATenantThatWithdrawsEverythingOwesNothing) {
  Queue queue;
  for (int32_t i = 0; i < 10; ++i) queue.Enter("steady", 100);
  for (int32_t i = 0; i < 1000; ++i) queue.Enter("nervous", 100);
  queue.Withdraw("nervous");
  queue.Enter("nervous", 100);
  EXPECT_EQ(queue.Serve(), "steady");
  EXPECT_EQ(queue.Serve(), "nervous");
}

TEST(FairOrderTest, AnIdleTenantSavesNothingUp) {
  Queue queue;
  queue.Enter("late", 100);
  queue.ServeAll();
  for (int32_t i = 0; i < 100; ++i) queue.Enter("busy", 100);
  for (int32_t i = 0; i < 50; ++i) queue.Serve();
  for (int32_t i = 0; i < 100; ++i) queue.Enter("late", 100);
  for (int32_t i = 0; i < 20; ++i) queue.Serve();
  EXPECT_EQ(queue.served("late"), 1100) << "every second one, however idle it was before";
}

TEST(FairOrderTest, APreemptedRequestKeepsItsTurn) {
  FairOrder order;
  const int64_t turn = order.Enter(0, "a", 100);
  order.Serve(0, "a", turn);
  order.Return(0, "a", turn);
  EXPECT_GE(order.Enter(0, "b", 100), turn);
  order.Serve(0, "a", turn);
}

// Tenants that always have something waiting are served in equal parts, give or take their two
// largest requests, whatever the sizes, and whoever comes and goes beside them.
TEST(FairOrderTest, RandomLoadIsDividedEqually) {
  constexpr int64_t kLargest = 500;
  for (int32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    const auto uniform = [&](int64_t low, int64_t high) {
      return std::uniform_int_distribution<int64_t>(low, high)(random);
    };
    Queue queue;
    const auto num_tenants = static_cast<int32_t>(uniform(2, 6));
    const auto enter = [&](int32_t tenant) {
      queue.Enter(absl::StrCat("t", tenant), uniform(1, tenant % 2 == 0 ? kLargest : 50));
    };
    for (int32_t i = 0; i < num_tenants; ++i) {
      for (int32_t j = 0; j < 40; ++j) enter(i);
    }
    for (int32_t step = 0; step < 2000; ++step) {
      if (uniform(1, 10) == 1) queue.Enter("guest", uniform(1, kLargest));
      const std::string served = queue.Serve();
      if (served != "guest") enter(std::stoi(served.substr(1)));
      std::vector<int64_t> totals;
      for (int32_t i = 0; i < num_tenants; ++i)
        totals.push_back(queue.served(absl::StrCat("t", i)));
      const auto [least, most] = std::minmax_element(totals.begin(), totals.end());
      ASSERT_LE(*most - *least, 2 * kLargest) << "seed " << seed << " step " << step;
    }
    EXPECT_EQ(queue.ServeAll().empty(), false);
  }
}

}  // namespace
}  // namespace tidal
