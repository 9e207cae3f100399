#include "server/security/api_key_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using Pair = std::pair<std::string, std::string>;

std::vector<Pair> Parse(const std::string& text) {
  const auto keys = ParseApiKeyFile(text);
  EXPECT_TRUE(keys.ok()) << keys.status();
  std::vector<Pair> out;
  if (keys.ok()) {
    for (const ApiKey& key : *keys) out.emplace_back(key.name, key.key);
  }
  return out;
}

TEST(ApiKeyFileTest, ReadsEveryForm) {
  EXPECT_THAT(
      Parse("# for tests\n\nalice: s3cret\n  bob :b0b\r\nplain-key\nalice: next\nx: y:z\n#a: b"),
      ElementsAre(Pair("alice", "s3cret"), Pair("bob", "b0b"), Pair("", "plain-key"),
                  Pair("alice", "next"), Pair("x", "y:z")));
}

TEST(ApiKeyFileTest, RefusesTheRestWithoutQuotingKeys) {
  const std::string secret = "VERYSECRET";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "must have at least one key"},
      {"# nothing\n\n", "must have at least one key"},
      {"ok\nalice: \n", "line 2: must be KEY or NAME: KEY; a key must have 1 to 512"},
      {secret + " # not a comment\n", "line 1"},
      {"alice smith: " + secret, "line 1: must be KEY or NAME: KEY; a name must have 1 to 64"},
      {": " + secret, "a name must have"},
      {std::string(65, 'n') + ": " + secret, "a name must have"},
      {std::string(513, 'k'), "a key must have 1 to 512 visible ASCII characters"},
      {secret + "\x80", "visible ASCII"},
      {secret + std::string(1, '\0'), "visible ASCII"},
  };
  for (const auto& [text, message] : cases) {
    const auto keys = ParseApiKeyFile(text);
    ASSERT_FALSE(keys.ok()) << text;
    EXPECT_TRUE(absl::IsInvalidArgument(keys.status()));
    EXPECT_THAT(std::string(keys.status().message()), HasSubstr(message)) << text;
    EXPECT_THAT(std::string(keys.status().message()), Not(HasSubstr(secret)));
  }
}

TEST(ApiKeyFileTest, HasALimit) {
  std::string text;
  for (size_t i = 0; i < kMaxApiKeys; ++i) absl::StrAppend(&text, "key", i, "\n");
  EXPECT_TRUE(ParseApiKeyFile(text).ok());
  EXPECT_THAT(std::string(ParseApiKeyFile(text + "one-more").status().message()),
              HasSubstr("line 10001: must be the last key, there may be 10000"));
}

}  // namespace
}  // namespace tidal
