#include "server/observe/saturation.h"

#include "gtest/gtest.h"

namespace tidal {
namespace {

class SaturationTest : public ::testing::Test {
 protected:
  // A tenth of a second later, so many refusals more, with a queue so full.
  bool Tick(int64_t refusals, double fullness) {
    now_ += absl::Milliseconds(100);
    queue_.refusals += refusals;
    queue_.request_limit = 100;
    queue_.token_limit = 1000;
    queue_.waiting = {1, static_cast<int64_t>(fullness * 1000)};
    return saturation_.Update(queue_, now_);
  }

  absl::Time now_ = absl::UnixEpoch();
  RequestQueue::State queue_;
  Saturation saturation_;
};

TEST_F(SaturationTest, AFullQueueAloneIsNot) {
  for (int32_t i = 0; i < 100; ++i) EXPECT_FALSE(Tick(0, 1.0));
}

TEST_F(SaturationTest, RefusalsWithoutABreakAre) {
  int32_t ticks = 1;
  while (!Tick(3, 1.0)) ASSERT_LT(++ticks, 100);
  EXPECT_EQ(ticks, 21);
  EXPECT_TRUE(Tick(0, 0.51)) << "not before half of it is done";
  EXPECT_FALSE(Tick(0, 0.5));
  EXPECT_FALSE(Tick(1, 1.0)) << "and not at once again";
}

TEST_F(SaturationTest, ABurstNowAndThenIsNot) {
  for (int32_t i = 0; i < 300; ++i) EXPECT_FALSE(Tick(i % 15 == 0 ? 50 : 0, 0.9));
}

}  // namespace
}  // namespace tidal
