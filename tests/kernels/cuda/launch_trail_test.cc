// What is read off the marks that kernels leave, with the test in place of the device.
#include "kernels/cuda/launch_trail.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>

namespace tidal::cuda {
namespace {

class LaunchTrailTest : public testing::Test {
 protected:
  static void Leave(const LaunchMark& mark) { *mark.where = mark.what; }
  static void BeginEarly(const LaunchMark& mark) {
    mark.where[static_cast<int>(LaunchWord::kEarly)] = mark.what;
  }
  LaunchMark Main(const char* operation) { return trail_.Next(operation, false); }
  LaunchMark Side(const char* operation) { return trail_.Next(operation, true); }

  uint64_t words_[kLaunchWords] = {};
  LaunchTrail trail_{words_};
};

TEST_F(LaunchTrailTest, NamesTheKernelThatBeganLast) {
  EXPECT_EQ(trail_.Last(), "");
  const LaunchMark norm = Main("RmsNorm"), matmul = Main("MatMul"), norm_2 = Main("RmsNorm");
  EXPECT_EQ(trail_.Last(), "") << "launched, not begun";
  Leave(norm);
  EXPECT_EQ(trail_.Last(), "RmsNorm (1st of its step)");
  Leave(matmul);
  EXPECT_EQ(trail_.Last(), "MatMul (1st of its step)");
  Leave(norm_2);
  EXPECT_EQ(trail_.Last(), "RmsNorm (2nd of its step)");
}

TEST_F(LaunchTrailTest, CountsAnewInEveryStep) {
  for (int i = 0; i < 2; ++i) {
    LaunchMark mark = Main("RmsNorm");
    for (int n = 1; n < 23; ++n) {
      if (n == 11) {
        Leave(mark);
        EXPECT_EQ(trail_.Last(), "RmsNorm (11th of its step)");
      }
      mark = Main("RmsNorm");
    }
    Leave(mark);
    EXPECT_EQ(trail_.Last(), "RmsNorm (23rd of its step)");
    trail_.EndStep();
  }
}

TEST_F(LaunchTrailTest, NamesTheKernelThatBeganWhileAnotherWasAtWork) {
  const LaunchMark rope = Main("RopeStoreKv"), decode = Main("PagedDecode");
  const LaunchMark matmul = Main("MatMul");
  Leave(rope);
  BeginEarly(decode);
  EXPECT_EQ(trail_.Last(), "RopeStoreKv (1st of its step) or PagedDecode (1st of its step)");
  Leave(decode);
  EXPECT_EQ(trail_.Last(), "PagedDecode (1st of its step)");
  Leave(matmul);
  EXPECT_EQ(trail_.Last(), "MatMul (1st of its step)");
}

TEST_F(LaunchTrailTest, ForgetsWhatBeganEarlyInTheStepBefore) {
  LaunchMark decode{};
  for (int layer = 0; layer < 3; ++layer) {
    Leave(Main("RopeStoreKv"));
    decode = Main("PagedDecode");
    BeginEarly(decode);
    Leave(decode);
  }
  trail_.EndStep();
  Leave(Main("Embedding"));
  EXPECT_EQ(trail_.Last(), "Embedding (1st of its step)");
}

// Until the main stream decodes again, and so has waited for it.
TEST_F(LaunchTrailTest, NamesTheSideStreamsKernelAsWell) {
  const LaunchMark scoring = Main("ScoringDecode"), select = Side("SelectTokens");
  const LaunchMark matmul = Main("MatMul"), sparse = Main("SparseDecode");
  BeginEarly(scoring);
  Leave(scoring);
  Leave(select);
  Leave(matmul);
  EXPECT_EQ(trail_.Last(), "MatMul (1st of its step) or SelectTokens (1st of its step)");
  BeginEarly(sparse);
  Leave(sparse);
  EXPECT_EQ(trail_.Last(), "SparseDecode (1st of its step)");
}

TEST_F(LaunchTrailTest, KeepsTheStreamsWordsApart) {
  const LaunchMark main = Main("PagedDecode"), side = Side("SelectTokens");
  for (const LaunchMark& mark : {main, side}) {
    Leave(mark);
    BeginEarly(mark);
  }
  EXPECT_EQ(std::set<uint64_t*>({main.where, main.where + 1, side.where, side.where + 1}).size(),
            static_cast<size_t>(kLaunchWords));
  for (uint64_t& word : words_) EXPECT_NE(word, 0u);
}

TEST(LaunchTrailWithoutMemoryTest, LeavesNothing) {
  LaunchTrail trail;
  EXPECT_EQ(trail.Next("RmsNorm", false).where, nullptr);
  EXPECT_EQ(trail.Next("SelectTokens", true).where, nullptr);
  EXPECT_EQ(trail.Last(), "");
}

}  // namespace
}  // namespace tidal::cuda
