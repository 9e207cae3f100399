#include "server/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tidal {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

// What is logged in between, whole lines.
class LoggingTest : public ::testing::Test {
 protected:
  void SetUp() override { ::testing::internal::CaptureStderr(); }
  void TearDown() override { InitLogging(LogLevel::kInfo, LogFormat::kText); }
  static std::string Captured() { return ::testing::internal::GetCapturedStderr(); }
};

TEST_F(LoggingTest, TextQuotesOnlyWhatNeedsIt) {
  InitLogging(LogLevel::kInfo, LogFormat::kText);
  Log(LogLevel::kInfo, "request",
      {{"id", "r-1"}, {"tokens", 12}, {"device", "a \"b\""}, {"empty", ""}, {"ratio", 0.5}});
  EXPECT_THAT(Captured(), EndsWith(" info request id=r-1 tokens=12 device=\"a \\\"b\\\"\" "
                                   "empty=\"\" ratio=0.5\n"));
}

TEST_F(LoggingTest, JsonIsOneObjectALine) {
  InitLogging(LogLevel::kInfo, LogFormat::kJson);
  Log(LogLevel::kWarning, "a \"quote\"", {{"id", "x\ny\\"}, {"n", -3}});
  const std::string line = Captured();
  EXPECT_THAT(line, MatchesRegex("\\{\"time\":\"[^\"]+\",\"level\":\"warning\",.*\n"));
  EXPECT_THAT(line,
              EndsWith("\"message\":\"a \\\"quote\\\"\",\"id\":\"x\\u000ay\\\\\",\"n\":-3}\n"));
}

TEST_F(LoggingTest, LowerLevelsAreDropped) {
  InitLogging(LogLevel::kWarning, LogFormat::kText);
  Log(LogLevel::kInfo, "quiet");
  Log(LogLevel::kDebug, "quieter");
  Log(LogLevel::kError, "loud");
  const std::string lines = Captured();
  EXPECT_THAT(lines, ::testing::Not(HasSubstr("quiet")));
  EXPECT_THAT(lines, HasSubstr(" error loud\n"));
}

}  // namespace
}  // namespace tidal
