#include "server/security/open_doors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tidal {
namespace {

using ::testing::HasSubstr;

std::string LogOf(const std::string& host, const ApiKeys& keys) {
  ::testing::internal::CaptureStderr();
  WarnOfOpenDoors(host, keys);
  return ::testing::internal::GetCapturedStderr();
}

TEST(OpenDoorsTest, KnowsLoopback) {
  for (const char* host : {"127.0.0.1", "127.1.2.3", "localhost", "::1"}) {
    EXPECT_TRUE(IsLoopback(host)) << host;
  }
  for (const char* host : {"0.0.0.0", "::", "192.0.2.1", "no such host"}) {
    EXPECT_FALSE(IsLoopback(host)) << host;
  }
}

TEST(OpenDoorsTest, WarnsOnlyOfOpenOnes) {
  const auto open = *ApiKeys::Load({}, "");
  const auto closed = *ApiKeys::Load({"key"}, "");
  EXPECT_THAT(LogOf("0.0.0.0", *open), HasSubstr("no API key is asked for"));
  EXPECT_EQ(LogOf("127.0.0.1", *open), "");
  EXPECT_EQ(LogOf("0.0.0.0", *closed), "");
}

}  // namespace
}  // namespace tidal
