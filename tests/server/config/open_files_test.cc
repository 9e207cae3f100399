#include "server/config/open_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <string>

namespace tidal {
namespace {

TEST(OpenFilesTest, TooFewAreToldBeforeALibraryMissesThem) {
  EXPECT_TRUE(CheckOpenFiles().ok());
  rlimit limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  for (const rlim_t files : {0, 1, 3, 8, 40, 255}) {
    rlimit small = limit;
    small.rlim_cur = files;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &small), 0);
    const absl::Status status = CheckOpenFiles();
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << files;
    EXPECT_THAT(std::string(status.message()),
                testing::EndsWith("with ulimit -n " + std::to_string(files)));
  }
  EXPECT_TRUE(CheckOpenFiles().ok()) << "none is left open";
}

}  // namespace
}  // namespace tidal
