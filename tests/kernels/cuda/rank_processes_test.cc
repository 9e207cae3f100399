// Ranks as they are in service: processes, which reach each other's memory by CUDA's handles. They
// share a GPU, in turns, where there is one only.
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "tests/kernels/cuda/device_ranks.h"

extern char** environ;

namespace tidal {
namespace {

constexpr int kRanks = 2;
constexpr int32_t kHidden = 516, kTokens = 3, kRounds = 40, kColumns = 66;
constexpr char kGroupVariable[] = "TIDAL_TEST_GROUP";  // the descriptor of the group's memory

std::vector<float> Partial(int rank, int round) {
  return RandomFloats(kTokens * kHidden, rank * 100 + round);
}

// The residual after some rounds, as this rank has it, and gathered columns after it.
std::vector<float> RunRank(RankGroup* group) {
  std::string error;
  const auto backend = MakeRankBackend(group, &error);
  EXPECT_NE(backend, nullptr) << error;
  if (backend == nullptr || !backend->Reserve(RankLimits())) return {};
  ReduceNormArrays a(*backend, kTokens * kHidden, kHidden);
  const DeviceArray<float> gathered(*backend, kTokens * kColumns);
  for (int round = 0; round < kRounds; ++round) {
    a.partial.Write(Partial(group->rank(), round));
    // Other rounds replay the graph of the first.
    if (round == 1) backend->BeginGraph(1);
    if (round <= 1) {
      backend->ReduceNorm(a.Params(kTokens, kHidden, DType::kBF16));
      backend->ReduceNorm(a.Params(1, kHidden, DType::kBF16));
    }
    if (round == 1) {
      EXPECT_EQ(backend->EndGraph(), "");
    }
    if (round > 1) {
      EXPECT_TRUE(backend->RunGraph(1));
    }
  }
  backend->GatherColumns({.part = a.partial.get(),
                          .out = gathered.get(),
                          .rows = kTokens,
                          .part_columns = kColumns / kRanks,
                          .columns = kColumns});
  std::vector<float> result = a.residual.Read();
  for (float x : gathered.Read()) result.push_back(x);
  return result;
}

std::vector<float> Expected() {
  std::vector<float> expected(kTokens * kHidden, 0.0f);
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<std::vector<float>> partials = {Partial(0, round), Partial(1, round)};
    AddPartials(partials, kHidden, &expected);
    std::vector<float> row(expected.begin(), expected.begin() + kHidden);
    AddPartials(partials, kHidden, &row);
    std::copy(row.begin(), row.end(), expected.begin());
  }
  constexpr int32_t kPart = kColumns / kRanks;
  for (int32_t row = 0; row < kTokens; ++row) {
    for (int rank = 0; rank < kRanks; ++rank) {
      const std::vector<float> part = Partial(rank, kRounds - 1);
      expected.insert(expected.end(), &part[row * kPart], &part[(row + 1) * kPart]);
    }
  }
  return expected;
}

// Run by the other test, in a process of its own.
TEST(CudaRankProcessesTest, DISABLED_OtherRank) {
  const char* const fd = std::getenv(kGroupVariable);
  ASSERT_NE(fd, nullptr);
  const auto group = RankGroup::Join(std::atoi(fd), 1);
  ASSERT_NE(group, nullptr);
  EXPECT_EQ(RunRank(group.get()), Expected());
  if (HasFailure()) group->Fail(1, "its test has failed");
}

TEST(CudaRankProcessesTest, ReduceNormBetweenProcesses) {
  if (!HasDevice()) GTEST_SKIP() << "no CUDA device here";
  const auto group = RankGroup::Create(kRanks);
  ASSERT_NE(group, nullptr);
  const int fd = dup(group->fd());  // not closed by exec
  const std::string variable = std::string(kGroupVariable) + "=" + std::to_string(fd);
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.push_back(*entry);
  environment.push_back(const_cast<char*>(variable.c_str()));
  environment.push_back(nullptr);
  std::string program = "/proc/self/exe", filter = "--gtest_filter=*DISABLED_OtherRank",
              disabled = "--gtest_also_run_disabled_tests";
  char* const arguments[] = {program.data(), filter.data(), disabled.data(), nullptr};
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environment.data()),
            0);
  close(fd);
  EXPECT_EQ(RunRank(group.get()), Expected());
  if (HasFailure()) group->Fail(0, "its test has failed");
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << group->failure();
}

}  // namespace
}  // namespace tidal
