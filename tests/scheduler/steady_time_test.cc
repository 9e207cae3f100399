#include "scheduler/steady_time.h"

#include "gtest/gtest.h"

namespace tidal {
namespace {

TEST(SteadyTimeTest, BeginsAsTheWallClockAndRunsOn) {
  absl::Time last = SteadyNow();
  EXPECT_LT(absl::AbsDuration(last - absl::Now()), absl::Seconds(5));
  for (int32_t i = 0; i < 1000; ++i) {
    const absl::Time now = SteadyNow();
    EXPECT_GE(now, last);
    last = now;
  }
}

TEST(SteadyTimeTest, ADeadlineIsAsFarAwayOnBothClocks) {
  const absl::Time steady = SteadyTimeOf(absl::Now() + absl::Hours(1));
  EXPECT_LT(absl::AbsDuration(steady - SteadyNow() - absl::Hours(1)), absl::Seconds(5));
  EXPECT_EQ(SteadyTimeOf(absl::InfiniteFuture()), absl::InfiniteFuture());
  EXPECT_EQ(SteadyTimeOf(absl::InfinitePast()), absl::InfinitePast());
}

}  // namespace
}  // namespace tidal
