#include "scheduler/token_stream.h"

#include <memory>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace tidal {
namespace {

SampledToken Token(TokenId id) { return {id, -1.0f, {}}; }

TEST(TokenStreamTest, HandsOverInOrderAndOnce) {
  TokenStream stream;
  EXPECT_TRUE(stream.TakeAll().tokens.empty());
  stream.Push(Token(1));
  stream.Push(Token(2));
  TokenStream::Events events = stream.TakeAll();
  ASSERT_EQ(events.tokens.size(), 2);
  EXPECT_EQ(events.tokens[0].id, 1);
  EXPECT_EQ(events.tokens[1].id, 2);
  EXPECT_FALSE(events.finish.has_value());
  EXPECT_TRUE(stream.TakeAll().tokens.empty());
  stream.Push(Token(3));
  FinishInfo info;
  info.reason = FinishReason::kStop;
  info.stop_token = 3;
  stream.Finish(info);
  events = stream.TakeAll();
  ASSERT_EQ(events.tokens.size(), 1);
  ASSERT_TRUE(events.finish.has_value());
  EXPECT_EQ(events.finish->stop_token, 3);
  EXPECT_FALSE(stream.TakeAll().finish.has_value());
}

TEST(TokenStreamTest, LogProbabilitiesOfThePromptWakeAndAddUp) {
  TokenStream stream;
  int32_t wakes = 0;
  stream.NotifyWhenReady([&] { ++wakes; });
  stream.PushPromptLogprobs({{-1, 1, {}}, {-2, 3, {{7, -1.5f}}}});
  EXPECT_EQ(wakes, 1);
  stream.PushPromptLogprobs({{-3, 2, {}}});
  stream.Push(Token(1));
  const TokenStream::Events events = stream.TakeAll();
  ASSERT_EQ(events.prompt_logprobs.size(), 3);
  EXPECT_EQ(events.prompt_logprobs[1].top[0].id, 7);
  EXPECT_EQ(events.prompt_logprobs[2].rank, 2);
  EXPECT_EQ(events.tokens.size(), 1);
  EXPECT_TRUE(stream.TakeAll().prompt_logprobs.empty());
}

// A consumer that has taken the last token knows it.
TEST(TokenStreamTest, TheLastTokenComesWithTheFinish) {
  TokenStream stream;
  int32_t wakes = 0;
  stream.NotifyWhenReady([&] { ++wakes; });
  stream.Push(Token(1), /*is_last=*/true);
  EXPECT_EQ(wakes, 0);
  EXPECT_TRUE(stream.TakeAll().tokens.empty());
  stream.Finish({});
  EXPECT_EQ(wakes, 1);
  const TokenStream::Events events = stream.TakeAll();
  ASSERT_EQ(events.tokens.size(), 1);
  EXPECT_EQ(events.tokens[0].id, 1);
  EXPECT_TRUE(events.finish.has_value());
}

TEST(TokenStreamTest, WakesAtOnceWhenThereIsSomething) {
  TokenStream stream;
  stream.Push(Token(1));
  int32_t wakes = 0;
  stream.NotifyWhenReady([&] { ++wakes; });
  EXPECT_EQ(wakes, 1);
  stream.Push(Token(2));
  EXPECT_EQ(wakes, 1) << "a wake is spent";
}

TEST(TokenStreamTest, WakesOnceAtTheNextEvent) {
  TokenStream stream;
  int32_t wakes = 0, replaced = 0;
  stream.NotifyWhenReady([&] { ++replaced; });
  stream.NotifyWhenReady([&] { ++wakes; });
  EXPECT_EQ(wakes, 0);
  stream.Push(Token(1));
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(replaced, 0);
  stream.Push(Token(2));
  EXPECT_EQ(wakes, 1);
  stream.TakeAll();
  stream.NotifyWhenReady([&] { ++wakes; });
  stream.Finish({});
  EXPECT_EQ(wakes, 2);
}

TEST(TokenStreamTest, AWakeMayTakeAndRearm) {
  TokenStream stream;
  std::vector<TokenId> taken;
  std::function<void()> wake = [&] {
    for (const SampledToken& token : stream.TakeAll().tokens) taken.push_back(token.id);
    stream.NotifyWhenReady(wake);
  };
  stream.NotifyWhenReady(wake);
  for (TokenId id = 0; id < 5; ++id) stream.Push(Token(id));
  EXPECT_EQ(taken, (std::vector<TokenId>{0, 1, 2, 3, 4}));
}

TEST(TokenStreamTest, WaitGivesUpAfterItsTimeout) {
  TokenStream stream;
  const TokenStream::Events events = stream.WaitAndTakeAll(absl::Milliseconds(1));
  EXPECT_TRUE(events.tokens.empty());
  EXPECT_FALSE(events.finish.has_value());
}

TEST(TokenStreamTest, ProducerAndConsumerOnTwoThreads) {
  constexpr TokenId kCount = 5000;
  TokenStream stream;
  std::thread producer([&] {
    for (TokenId id = 0; id < kCount; ++id) stream.Push(Token(id));
    stream.Finish({});
  });
  TokenId next = 0;
  for (bool finished = false; !finished;) {
    const TokenStream::Events events = stream.WaitAndTakeAll(absl::InfiniteDuration());
    for (const SampledToken& token : events.tokens) EXPECT_EQ(token.id, next++);
    finished = events.finish.has_value();
  }
  EXPECT_EQ(next, kCount);
  producer.join();
}

TEST(TokenStreamDeathTest, NothingFollowsTheEnd) {
  TokenStream stream;
  stream.Finish({});
  EXPECT_DEATH(stream.Push(Token(1)), "CHECK failed");
  EXPECT_DEATH(stream.Finish({}), "CHECK failed");
}

}  // namespace
}  // namespace tidal
