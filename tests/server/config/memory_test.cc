#include "server/config/memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "server/observe/logging.h"

namespace tidal {
namespace {

// More than there is. Volatile, so that nobody sees it beforehand.
volatile size_t too_large = SIZE_MAX / 4;

TEST(MemoryDeathTest, OneLineEndsTheProcessThatHasNoMemory) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's operator new asks no handler";
#endif
  const auto run_out = [](LogFormat format) {
    InitLogging(LogLevel::kInfo, format);
    InitMemory();
    // On any thread, also where nobody would catch it.
    std::thread([] { std::string(too_large, 'x'); }).join();
  };
  EXPECT_EXIT(run_out(LogFormat::kText), ::testing::ExitedWithCode(1),
              "^[-0-9]+T[:.0-9]+\\+0000 error out of memory: the process ends\n$");
  EXPECT_EXIT(run_out(LogFormat::kJson), ::testing::ExitedWithCode(1),
              "^\\{\"time\":\"[-0-9]+T[:.0-9]+\\+0000\",\"level\":\"error\",\"message\":\"out of "
              "memory: the process ends\"\\}\n$");
}

}  // namespace
}  // namespace tidal
