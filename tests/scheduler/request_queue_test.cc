#include "scheduler/request_queue.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "scheduler/queue_limit.h"
#include "scheduler/retry_after.h"
#include "tests/scheduler/harness.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

std::vector<std::unique_ptr<Request>> Numbered(SequenceId id) {
  std::vector<std::unique_ptr<Request>> requests;
  requests.push_back(MakeRequest(id, Prompt(1), 1));
  return requests;
}

SchedulerConfig WithRoomFor(int32_t max_queued_requests) {
  SchedulerConfig config = SmallConfig();
  config.max_queued_requests = max_queued_requests;
  return config;
}

TEST(RequestQueueTest, IsClosedUntilOpened) {
  RequestQueue queue(WithRoomFor(4));
  EXPECT_EQ(queue.Submit(Numbered(1)).code(), absl::StatusCode::kUnavailable);
  queue.Open();
  EXPECT_TRUE(queue.Submit(Numbered(1)).ok());
  queue.Close(absl::UnavailableError("draining"));
  EXPECT_EQ(queue.Submit(Numbered(2)).message(), "draining");
  EXPECT_THAT(queue.TakeAll().submitted, SizeIs(1));
}

TEST(RequestQueueTest, HandsOverInOrder) {
  RequestQueue queue(WithRoomFor(4));
  queue.Open();
  EXPECT_FALSE(queue.HasWork());
  for (SequenceId id : {3, 1, 2}) ASSERT_TRUE(queue.Submit(Numbered(id)).ok());
  queue.Cancel(1);
  queue.Cancel(9);
  queue.Cancel(1);
  EXPECT_TRUE(queue.HasWork());
  EXPECT_EQ(queue.state().waiting, (QueueLoad{3, 6}));
  RequestQueue::Inbox inbox = queue.TakeAll();
  ASSERT_THAT(inbox.submitted, SizeIs(3));
  EXPECT_EQ(inbox.submitted[0]->id, 3);
  EXPECT_EQ(inbox.submitted[1]->id, 1);
  EXPECT_EQ(inbox.submitted[2]->id, 2);
  EXPECT_THAT(inbox.cancelled, UnorderedElementsAre(1, 9));
  EXPECT_FALSE(inbox.stop);
  EXPECT_FALSE(inbox.cancel_all.has_value());
  EXPECT_FALSE(queue.HasWork());
  EXPECT_THAT(queue.TakeAll().submitted, IsEmpty());
}

TEST(RequestQueueTest, CountsWhatWaitsAtTheReceiver) {
  RequestQueue queue(WithRoomFor(3));
  queue.Open();
  ASSERT_TRUE(queue.Submit(Numbered(1)).ok());
  ASSERT_TRUE(queue.Submit(Numbered(2)).ok());
  queue.TakeAll();  // both still wait
  ASSERT_TRUE(queue.Submit(Numbered(3)).ok());
  const absl::Status full = queue.Submit(Numbered(4));
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(full.message(), HasSubstr("3 requests"));
  EXPECT_EQ(RetryAfterOf(full), 1);
  EXPECT_EQ(queue.state().refusals, 1);
  TenantLoads one;
  one.Add("", {1, 2});
  queue.ReportWaiting(one, {});
  EXPECT_EQ(queue.state().waiting, (QueueLoad{2, 4}));
  EXPECT_TRUE(queue.Submit(Numbered(4)).ok());
  EXPECT_FALSE(queue.Submit(Numbered(5)).ok());
}

TEST(RequestQueueTest, TakesAllOfARequestOrNothing) {
  RequestQueue queue(WithRoomFor(3));
  queue.Open();
  ASSERT_TRUE(queue.Submit(Numbered(1)).ok());
  std::vector<std::unique_ptr<Request>> three;
  for (SequenceId id : {2, 3, 4}) three.push_back(MakeRequest(id, Prompt(1), 1));
  EXPECT_TRUE(absl::IsResourceExhausted(queue.Submit(std::move(three))));
  EXPECT_THAT(queue.TakeAll().submitted, SizeIs(1));
}

TEST(RequestQueueTest, TellsTheRoomBeforeThePromptIsKnown) {
  RequestQueue queue(WithRoomFor(3));
  queue.Open();
  EXPECT_TRUE(queue.CheckRoom("", 3, 1000).ok()) << "nothing waits";
  ASSERT_TRUE(queue.Submit(Numbered(1)).ok());
  EXPECT_TRUE(queue.CheckRoom("", 2, 0).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(queue.CheckRoom("", 3, 0)));
  queue.ReportWaiting({}, {.requests = 8, .tokens = 256});
  EXPECT_TRUE(queue.CheckRoom("", 7, 10).ok()) << "they can start at once";
  queue.Close(absl::UnavailableError("draining"));
  EXPECT_TRUE(absl::IsUnavailable(queue.CheckRoom("", 1, 0)));
}

TEST(RequestQueueTest, ARefusalSaysWhichLimit) {
  SchedulerConfig config = WithRoomFor(2);
  config.max_queued_tokens = 40;
  RequestQueue queue(config);
  queue.Open();
  std::vector<std::unique_ptr<Request>> large;
  large.push_back(MakeRequest(9, Prompt(60), 1));
  ASSERT_TRUE(queue.Submit(Numbered(1)).ok());
  EXPECT_EQ(QueueLimitOf(queue.Submit(std::move(large))), QueueLimit::kTokens);
  ASSERT_TRUE(queue.Submit(Numbered(2)).ok());
  const absl::Status refused = queue.Submit(Numbered(3));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(QueueLimitOf(refused), QueueLimit::kRequests);
  EXPECT_TRUE(RetryAfterOf(refused).has_value());
}

TEST(RequestQueueTest, CancellationsOfUnknownRequestsAreNotKept) {
  RequestQueue queue(WithRoomFor(3));
  queue.Open();
  queue.Cancel(5);
  EXPECT_FALSE(queue.HasWork());
}

TEST(RequestQueueTest, WaitsUntilNoneIsLeft) {
  RequestQueue queue(WithRoomFor(3));
  queue.Open();
  EXPECT_TRUE(queue.WaitUntilNoneLeft(absl::InfinitePast()));
  ASSERT_TRUE(queue.Submit(Numbered(1)).ok());
  EXPECT_FALSE(queue.WaitUntilNoneLeft(absl::InfinitePast()));
  std::thread receiver([&] {
    queue.WaitForWork();
    queue.TakeAll();
    queue.ReportEnded(1);
  });
  EXPECT_TRUE(queue.WaitUntilNoneLeft(absl::InfiniteFuture()));
  receiver.join();
}

TEST(RequestQueueTest, EveryKindOfMessageWakesTheReceiver) {
  RequestQueue queue(WithRoomFor(3));
  queue.Open();
  std::vector<void (*)(RequestQueue&)> senders = {
      [](RequestQueue& q) { ASSERT_TRUE(q.Submit(Numbered(1)).ok()); },
      [](RequestQueue& q) { q.Cancel(1); },
      [](RequestQueue& q) { q.CancelAll(absl::CancelledError("all")); },
      [](RequestQueue& q) { q.Stop(); },
  };
  for (auto send : senders) {
    std::thread receiver([&] { queue.WaitForWork(); });
    send(queue);
    receiver.join();
    queue.TakeAll();
  }
}

TEST(RequestQueueTest, ManySendersLoseNothing) {
  constexpr int32_t kSenders = 4, kEach = 500;
  RequestQueue queue(WithRoomFor(kSenders * kEach));
  queue.Open();
  std::vector<std::thread> senders;
  for (int32_t s = 0; s < kSenders; ++s) {
    senders.emplace_back([&queue, s] {
      for (int32_t i = 0; i < kEach; ++i) {
        ASSERT_TRUE(queue.Submit(Numbered(s * kEach + i)).ok());
      }
    });
  }
  std::vector<bool> seen(kSenders * kEach, false);
  std::vector<int32_t> last(kSenders, -1);
  for (int32_t taken = 0; taken < kSenders * kEach;) {
    queue.WaitForWork();
    for (const auto& request : queue.TakeAll().submitted) {
      const auto id = static_cast<int32_t>(request->id);
      EXPECT_FALSE(seen[id]);
      seen[id] = true;
      EXPECT_GT(id % kEach, last[id / kEach]) << "the order of one sender";
      last[id / kEach] = id % kEach;
      ++taken;
    }
  }
  for (std::thread& sender : senders) sender.join();
}

}  // namespace
}  // namespace tidal
