#include "server/config/prefix_cache_scope.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/server/generation/service_harness.h"

namespace tidal {
namespace {

// Tokens of the prompt that were found in the cache.
uint32_t CachedTokens(ServiceHarness& harness, const std::string& tenant, const std::string& salt) {
  v1::GenerateRequest request;
  for (uint32_t i = 0; i < 40; ++i) request.mutable_token_ids()->add_ids(200 + i);
  request.mutable_stopping()->set_max_tokens(1);
  request.set_cache_salt(salt);
  Caller caller;
  caller.tenant = tenant;
  const auto generation = harness.service().Start(request, caller);
  while (true) {
    const Generation::Item item = generation->WaitNext();
    if (item.event.has_value() && item.event->has_usage()) {
      return item.event->usage().cached_tokens();
    }
    if (item.end.has_value()) ADD_FAILURE() << *item.end;
  }
}

TEST(PrefixCacheScopeTest, TenantsShareNoPrompts) {
  ServiceHarness harness;
  EXPECT_EQ(CachedTokens(harness, "a", ""), 0);
  EXPECT_EQ(CachedTokens(harness, "a", ""), 32);
  EXPECT_EQ(CachedTokens(harness, "b", ""), 0);
  EXPECT_EQ(CachedTokens(harness, "", ""), 0);
  EXPECT_EQ(CachedTokens(harness, "a", "b"), 0);
  EXPECT_EQ(CachedTokens(harness, "a", "b"), 32);
  // No salt makes one tenant's requests look like another's.
  EXPECT_EQ(CachedTokens(harness, "ab", ""), 0);
  EXPECT_EQ(CachedTokens(harness, "", "1:a"), 0);
  EXPECT_EQ(CachedTokens(harness, "", "a"), 0);
}

TEST(PrefixCacheScopeTest, TenantsShareWhereTheOperatorLetsThem) {
  HarnessOptions options;
  options.service.prefix_cache_scope = PrefixCacheScope::kServer;
  ServiceHarness harness(options);
  EXPECT_EQ(CachedTokens(harness, "a", ""), 0);
  EXPECT_EQ(CachedTokens(harness, "b", ""), 32);
  EXPECT_EQ(CachedTokens(harness, "b", "salt"), 0);
  EXPECT_EQ(CachedTokens(harness, "a", "salt"), 32);
}

}  // namespace
}  // namespace tidal
