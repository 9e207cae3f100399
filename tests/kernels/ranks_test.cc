// What ranks share: numbers of all, messages from rank 0, and one failure.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>
#include <tuple>
#include <vector>

#include "kernels/ranks/rank_exchange.h"
#include "kernels/ranks/rank_group.h"
#include "kernels/ranks/rank_stream.h"
#include "tests/support/test_group.h"

namespace tidal {
namespace {

using std::chrono::milliseconds;

// How many ranks, and whether each has its own view of the memory.
class RankGroupTest : public ::testing::TestWithParam<std::tuple<int, bool>> {};

// Of uneven speed, and of sizes about those of a piece.
TEST_P(RankGroupTest, EachRankSeesWhatAllGive) {
  const auto [size, own_views] = GetParam();
  const auto groups = MakeTestGroup(size, own_views);
  constexpr size_t kPiece = 4096;
  OnEachRank(size, [&, size = size](int rank) {
    RankExchange exchange(groups[rank].get(), groups[rank]->host_area(), kPiece);
    std::minstd_rand random(rank);
    for (size_t bytes : {4, 4092, 4096, 4100, 8192, 100, 50000, 4, 4, 4}) {
      const size_t count = bytes / sizeof(uint32_t);
      std::vector<uint32_t> mine(count);
      std::iota(mine.begin(), mine.end(), 1000000u * rank + bytes);
      if (random() % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
      size_t seen = 0;
      ASSERT_TRUE(exchange.Run(mine.data(), bytes,
                               [&](const char* const* pieces, size_t begin, size_t length) {
                                 EXPECT_EQ(begin, seen);
                                 seen += length;
                                 for (int from = 0; from < size; ++from) {
                                   for (size_t at = 0; at < length; at += sizeof(uint32_t)) {
                                     uint32_t value;
                                     std::memcpy(&value, pieces[from] + at, sizeof(value));
                                     ASSERT_EQ(value, 1000000u * from + bytes + (begin + at) / 4);
                                   }
                                 }
                               }));
      EXPECT_EQ(seen, bytes);
    }
  });
}

TEST_P(RankGroupTest, MessagesOfAnyLengthReachAllOthersInOrder) {
  const auto [size, own_views] = GetParam();
  const auto groups = MakeTestGroup(size, own_views);
  std::vector<std::vector<char>> messages;
  std::minstd_rand random(7);
  for (size_t bytes : {1, 5, 70000, 1 << 20, (3 << 20) + 17, 3, 1000, 1 << 19}) {
    messages.emplace_back(bytes);
    for (char& byte : messages.back()) byte = static_cast<char>(random());
  }
  OnEachRank(size, [&, size = size](int rank) {
    RankStream stream(groups[rank].get(), groups[rank]->stream_area());
    for (int round = 0; round < 3; ++round) {
      for (const std::vector<char>& message : messages) {
        if (rank == 0) {
          ASSERT_TRUE(stream.Write(message.data(), message.size()));
          continue;
        }
        std::vector<char> read(message.size());
        ASSERT_TRUE(stream.Read(read.data(), read.size()));
        ASSERT_TRUE(read == message);
      }
    }
  });
}

TEST_P(RankGroupTest, OneFailureEndsAllWaits) {
  const auto [size, own_views] = GetParam();
  const auto groups = MakeTestGroup(size, own_views);
  const auto begin = std::chrono::steady_clock::now();
  OnEachRank(size, [&, size = size](int rank) {
    if (rank == size - 1) {
      std::this_thread::sleep_for(milliseconds(50));
      groups[rank]->Fail(rank, "its memory is gone");
      groups[rank]->Fail(0, "a later one, which nobody hears of");
    } else if (rank == 0) {
      RankExchange exchange(groups[rank].get(), groups[rank]->host_area(), 4096);
      EXPECT_FALSE(exchange.Run("abcd", 4, [](const char* const*, size_t, size_t) { FAIL(); }));
    } else {
      RankStream stream(groups[rank].get(), groups[rank]->stream_area());
      char byte;
      EXPECT_FALSE(stream.Read(&byte, 1));
    }
    EXPECT_EQ(groups[rank]->failure(), "rank " + std::to_string(size - 1) + " of " +
                                           std::to_string(size) + ": its memory is gone");
  });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  SharedCounter counter{};
  EXPECT_FALSE(groups[0]->WaitFor(counter, 0)) << "and for ever";
}

INSTANTIATE_TEST_SUITE_P(Ranks, RankGroupTest,
                         ::testing::Combine(::testing::Values(1, 2, 4), ::testing::Bool()));

TEST(RankGroupTest, AReaderWaitsForAWhile) {
  const auto groups = MakeTestGroup(2);
  RankStream writer(groups[0].get(), groups[0]->stream_area());
  RankStream reader(groups[1].get(), groups[1]->stream_area());
  EXPECT_FALSE(reader.HasBytes(milliseconds(1)));
  ASSERT_TRUE(writer.Write("x", 1));
  EXPECT_TRUE(reader.HasBytes(milliseconds(1)));
}

TEST(RankGroupTest, RanksOfAnotherGroupOrNoneAreRefused) {
  EXPECT_EQ(RankGroup::Create(0), nullptr);
  EXPECT_EQ(RankGroup::Create(RankGroup::kMaxRanks + 1), nullptr);
  EXPECT_EQ(RankGroup::Join(-1, 1), nullptr);
  const auto group = RankGroup::Create(2);
  ASSERT_NE(group, nullptr);
  EXPECT_EQ(RankGroup::Join(dup(group->fd()), 2), nullptr);
  EXPECT_EQ(RankGroup::Join(dup(group->fd()), -1), nullptr);
}

TEST(RankGroupTest, BeatsAreSeenByAll) {
  const auto groups = MakeTestGroup(2);
  EXPECT_EQ(groups[0]->beats(1), 0u);
  groups[1]->Beat();
  EXPECT_EQ(groups[0]->beats(1), 1u);
  EXPECT_EQ(groups[1]->beats(0), 0u);
}

}  // namespace
}  // namespace tidal
