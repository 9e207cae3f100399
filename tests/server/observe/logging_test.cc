#include "server/observe/logging.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
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

// Standard error is another file while it lives.
class OtherStderr {
 public:
  OtherStderr(const char* path, int flags) : saved_(dup(STDERR_FILENO)) {
    const int file = open(path, flags, 0600);
    EXPECT_GE(file, 0) << path;
    dup2(file, STDERR_FILENO);
    close(file);
  }
  ~OtherStderr() {
    dup2(saved_, STDERR_FILENO);
    close(saved_);
  }

 private:
  const int saved_;
};

TEST(FullDiskLoggingTest, LinesThatCannotBeWrittenAreCounted) {
  const uint64_t before = DroppedLogLines();
  {
    OtherStderr full("/dev/full", O_WRONLY);
    for (int i = 0; i < 3; ++i) Log(LogLevel::kInfo, "lost", {{"i", i}});
  }
  EXPECT_EQ(DroppedLogLines(), before + 3);
  {
    OtherStderr writable("/dev/null", O_WRONLY);
    Log(LogLevel::kInfo, "written");
  }
  EXPECT_EQ(DroppedLogLines(), before + 3);
}

// The disk has room for half a line, then for none, then for all.
TEST(FullDiskLoggingTest, HalfALineDoesNotSpoilTheNext) {
  const uint64_t before = DroppedLogLines();
  std::string path = ::testing::TempDir() + "/half_a_line_XXXXXX";
  close(mkstemp(path.data()));
  InitLogging(LogLevel::kInfo, LogFormat::kText);
  rlimit unlimited;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
  {
    OtherStderr file(path.c_str(), O_WRONLY | O_APPEND);
    const rlimit small = {20, unlimited.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    Log(LogLevel::kInfo, "half");
    Log(LogLevel::kInfo, "lost");
    setrlimit(RLIMIT_FSIZE, &unlimited);
    Log(LogLevel::kInfo, "whole");
    Log(LogLevel::kInfo, "next");
  }
  EXPECT_EQ(DroppedLogLines(), before + 2);
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(text, MatchesRegex(".{20}\n[^\n]* info whole\n[^\n]* info next\n"));
  std::remove(path.c_str());
}

}  // namespace
}  // namespace tidal
