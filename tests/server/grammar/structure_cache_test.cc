#include "server/grammar/structure_cache.h"

#include <gtest/gtest.h>

namespace tidal {
namespace {

absl::Status Refusal(const std::string& why) { return absl::InvalidArgumentError(why); }

TEST(StructureCacheTest, ForgetsWhatWasWantedLongestAgo) {
  StructureCache cache(100);
  for (const char* tag : {"a", "b", "c"}) cache.Put(tag, Refusal(tag), 29);
  EXPECT_EQ(cache.bytes(), 90);
  ASSERT_NE(cache.Find("a"), nullptr);
  EXPECT_EQ(cache.Find("a")->status().message(), "a");
  cache.Put("d", Refusal("d"), 29);
  EXPECT_EQ(cache.Find("b"), nullptr);
  EXPECT_NE(cache.Find("a"), nullptr);
  EXPECT_NE(cache.Find("c"), nullptr);
  EXPECT_EQ(cache.size(), 3u);
}

TEST(StructureCacheTest, KeepsTheLastOneHoweverLargeItIs) {
  StructureCache cache(100);
  cache.Put("small", Refusal("small"), 1);
  cache.Put("large", Refusal("large"), 1000);
  EXPECT_EQ(cache.Find("small"), nullptr);
  EXPECT_NE(cache.Find("large"), nullptr);
  cache.Put("small", Refusal("small"), 1);
  EXPECT_EQ(cache.size(), 1u);
  EXPECT_EQ(cache.bytes(), 6);
}

}  // namespace
}  // namespace tidal
