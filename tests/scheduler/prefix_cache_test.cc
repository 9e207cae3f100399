#include "scheduler/prefix_cache.h"

#include <optional>
#include <vector>

#include "gtest/gtest.h"

namespace tidal {
namespace {

constexpr BlockId kNone = PrefixCache::kNoParent;

// Contents with hashes chosen by the test, so that collisions are easy.
BlockContent Content(uint64_t hash, BlockId parent, const std::vector<TokenId>& tokens,
                     absl::string_view salt = "") {
  return {hash, parent, tokens, salt};
}

TEST(PrefixCacheTest, FindsWhatWasInserted) {
  PrefixCache cache(4);
  const std::vector<TokenId> a = {1, 2}, b = {3, 4};
  EXPECT_EQ(cache.Find(Content(10, kNone, a)), std::nullopt);
  EXPECT_TRUE(cache.Insert(2, Content(10, kNone, a)));
  EXPECT_TRUE(cache.Insert(0, Content(11, 2, b)));
  EXPECT_EQ(cache.Find(Content(10, kNone, a)), 2);
  EXPECT_EQ(cache.Find(Content(11, 2, b)), 0);
  EXPECT_TRUE(cache.IsEntry(2));
  EXPECT_FALSE(cache.IsEntry(1));
}

TEST(PrefixCacheTest, AWithdrawnEntryIsNotFoundAndCanBeInsertedAnew) {
  PrefixCache cache(4);
  const std::vector<TokenId> a = {1, 2}, b = {3, 4};
  ASSERT_TRUE(cache.Insert(0, Content(10, kNone, a)));
  ASSERT_TRUE(cache.Insert(1, Content(11, 0, b)));
  cache.Withdraw(0);
  cache.Withdraw(1);
  EXPECT_EQ(cache.Find(Content(10, kNone, a)), std::nullopt);
  EXPECT_TRUE(cache.IsEntry(0));
  ASSERT_TRUE(cache.Insert(2, Content(10, kNone, a)));
  ASSERT_TRUE(cache.Insert(3, Content(11, 2, b)));
  cache.Park(1);
  cache.Park(0);
  EXPECT_EQ(cache.Evict(), 1);
  EXPECT_EQ(cache.Evict(), 0);
  EXPECT_EQ(cache.Find(Content(10, kNone, a)), 2);
  EXPECT_EQ(cache.Find(Content(11, 2, b)), 3);
}

TEST(PrefixCacheTest, KnowsHowMuchOfAChainIsStillFound) {
  PrefixCache cache(4);
  const std::vector<TokenId> a = {1, 2}, b = {3, 4}, c = {5, 6};
  ASSERT_TRUE(cache.Insert(0, Content(10, kNone, a)));
  ASSERT_TRUE(cache.Insert(1, Content(11, 0, b)));
  const std::vector<BlockId> chain = {0, 1};
  const int64_t version = cache.version();
  ASSERT_TRUE(cache.Insert(2, Content(12, 1, c)));
  EXPECT_EQ(cache.NumStillFound(chain, version), 2) << "an insertion takes nothing away";
  for (BlockId block : {2, 1}) cache.Park(block);
  ASSERT_EQ(cache.Evict(), 2);
  ASSERT_EQ(cache.Evict(), 1);
  EXPECT_EQ(cache.NumStillFound(chain, version), 1);
  ASSERT_TRUE(cache.Insert(1, Content(13, 0, c)));
  EXPECT_EQ(cache.NumStillFound(chain, version), 1) << "the same block, another entry";
  EXPECT_EQ(cache.NumStillFound(chain, cache.version()), 2) << "found by who looks now";
}

TEST(PrefixCacheTest, AfterAWithdrawalNoChainIsTakenForGranted) {
  PrefixCache cache(3);
  const std::vector<TokenId> a = {1, 2}, b = {3, 4};
  ASSERT_TRUE(cache.Insert(0, Content(10, kNone, a)));
  ASSERT_TRUE(cache.Insert(1, Content(11, 0, b)));
  const int64_t version = cache.version();
  cache.Withdraw(0);  // its child stays, and is not reached any more
  EXPECT_EQ(cache.NumStillFound(std::vector<BlockId>{0, 1}, version), 0);
}

TEST(PrefixCacheTest, AHashCollisionIsNeverAHit) {
  PrefixCache cache(4);
  const std::vector<TokenId> a = {1, 2}, b = {1, 3};
  ASSERT_TRUE(cache.Insert(0, Content(10, kNone, a, "x")));
  EXPECT_EQ(cache.Find(Content(10, kNone, b, "x")), std::nullopt) << "other tokens";
  EXPECT_EQ(cache.Find(Content(10, kNone, a, "y")), std::nullopt) << "other salt";
  EXPECT_EQ(cache.Find(Content(10, 0, a, "x")), std::nullopt) << "other parent";
  EXPECT_FALSE(cache.Insert(1, Content(10, kNone, b, "x")));
  EXPECT_FALSE(cache.IsEntry(1));
  EXPECT_EQ(cache.Find(Content(10, kNone, a, "x")), 0);
}

TEST(PrefixCacheTest, EvictsTheLeastRecentlyParked) {
  PrefixCache cache(3);
  const std::vector<TokenId> a = {1}, b = {2}, c = {3};
  cache.Insert(0, Content(10, kNone, a));
  cache.Insert(1, Content(11, kNone, b));
  cache.Insert(2, Content(12, kNone, c));
  EXPECT_EQ(cache.Evict(), std::nullopt) << "all are referenced";
  cache.Park(1);
  cache.Park(0);
  cache.Park(2);
  cache.Unpark(1);  // used again, so it is now the most recent
  cache.Park(1);
  EXPECT_EQ(cache.num_parked(), 3);
  EXPECT_EQ(cache.Evict(), 0);
  EXPECT_EQ(cache.Find(Content(10, kNone, a)), std::nullopt);
  EXPECT_EQ(cache.Evict(), 2);
  EXPECT_EQ(cache.Evict(), 1);
  EXPECT_EQ(cache.Evict(), std::nullopt);
}

TEST(PrefixCacheTest, AParentGoesAfterItsChildren) {
  PrefixCache cache(3);
  const std::vector<TokenId> a = {1}, b = {2};
  cache.Insert(0, Content(10, kNone, a));
  cache.Insert(1, Content(11, 0, b));
  cache.Park(1);
  cache.Park(0);
  EXPECT_EQ(cache.Evict(), 1);
  EXPECT_EQ(cache.Evict(), 0);
}

TEST(PrefixCacheDeathTest, MisuseIsFatal) {
  PrefixCache cache(3);
  const std::vector<TokenId> a = {1}, b = {2};
  EXPECT_DEATH(cache.Park(0), "CHECK failed");
  EXPECT_DEATH(cache.Insert(1, Content(11, 0, b)), "CHECK failed") << "no such parent";
  cache.Insert(0, Content(10, kNone, a));
  EXPECT_DEATH(cache.Insert(0, Content(11, kNone, b)), "CHECK failed");
  EXPECT_DEATH(cache.Unpark(0), "CHECK failed");
  cache.Insert(1, Content(11, 0, b));
  cache.Park(0);  // the child is still referenced: its holder let the parent go first
  EXPECT_DEATH(cache.Park(0), "CHECK failed");
  EXPECT_DEATH(cache.Evict(), "CHECK failed");
}

TEST(PrefixCacheTest, HashesDependOnEverythingBefore) {
  const uint64_t root = PrefixCache::RootHash("");
  EXPECT_NE(root, PrefixCache::RootHash("salt"));
  const uint64_t one = PrefixCache::ChainHash(root, {1, 2});
  EXPECT_EQ(one, PrefixCache::ChainHash(root, {1, 2}));
  EXPECT_NE(one, PrefixCache::ChainHash(root, {2, 1}));
  EXPECT_NE(PrefixCache::ChainHash(one, {1, 2}), one);
}

}  // namespace
}  // namespace tidal
