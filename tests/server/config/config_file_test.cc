#include "server/config/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

std::vector<ConfigEntry> Parsed(absl::string_view text) {
  const auto entries = ParseConfig(text, "c.yaml");
  EXPECT_TRUE(entries.ok()) << entries.status();
  return entries.ok() ? *entries : std::vector<ConfigEntry>{};
}

std::string Error(absl::string_view text) {
  const auto entries = ParseConfig(text, "c.yaml");
  EXPECT_TRUE(absl::IsInvalidArgument(entries.status())) << entries.status();
  return std::string(entries.status().message());
}

TEST(ConfigFileTest, ReadsValuesAndListsWithTheirLines) {
  const auto entries = Parsed(
      "# about\n"
      "max_num_seqs: 8  # a number\n"
      "model: \"a b\"\n"
      "\n"
      "names: [a, 'b']\n"
      "more:\n"
      "  - 1\n"
      "  - true\n"
      "none: []\n"
      "empty: ''\n");
  ASSERT_EQ(entries.size(), 6);
  EXPECT_EQ(entries[0].key, "max_num_seqs");
  EXPECT_THAT(entries[0].values, ElementsAre("8"));
  EXPECT_FALSE(entries[0].is_list);
  EXPECT_EQ(entries[0].line, 2);
  EXPECT_THAT(entries[1].values, ElementsAre("a b"));
  EXPECT_THAT(entries[2].values, ElementsAre("a", "b"));
  EXPECT_TRUE(entries[2].is_list);
  EXPECT_EQ(entries[2].line, 5);
  EXPECT_THAT(entries[3].values, ElementsAre("1", "true"));
  EXPECT_THAT(entries[4].values, IsEmpty());
  EXPECT_TRUE(entries[4].is_list);
  EXPECT_THAT(entries[5].values, ElementsAre(""));
}

TEST(ConfigFileTest, ValuesAreTextAsItStands) {
  const auto entries = Parsed("a: 4GiB\nb: 030\nc: no\nd: |\n  x\n  y\ne: 'null'\n");
  ASSERT_EQ(entries.size(), 5);
  EXPECT_THAT(entries[0].values, ElementsAre("4GiB"));
  EXPECT_THAT(entries[1].values, ElementsAre("030"));
  EXPECT_THAT(entries[2].values, ElementsAre("no"));
  EXPECT_THAT(entries[3].values, ElementsAre("x\ny\n"));
  EXPECT_THAT(entries[4].values, ElementsAre("null"));
}

TEST(ConfigFileTest, ManyWaysToSayNothing) {
  for (const char* text : {"", "\n", "# only a comment\n", "---\n", "{}", "---\n...\n"}) {
    EXPECT_THAT(Parsed(text), IsEmpty()) << text;
  }
}

TEST(ConfigFileTest, MistakesNameTheirLine) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a: 1\nb: 2\na: 3\n", "c.yaml:3: a: is already on line 1"},
      {"a: 1\nb:\n  c: 2\n", "c.yaml:3: b: must be a value or a list, got a mapping"},
      {"a: {b: 1}\n", "c.yaml:1: a: must be a value or a list, got a mapping"},
      {"a: [1, [2]]\n", "c.yaml:1: a: must be a list of values, got a list in it"},
      {"a: [1, {b: 2}]\n", "c.yaml:1: a: must be a value or a list, got a mapping"},
      {"a: 1\nb:\nc: 2\n", "c.yaml:2: b: must have a value"},
      {"a: null\n", "c.yaml:1: a: must have a value"},
      {"a: [1, ~]\n", "c.yaml:1: a: must have a value"},
      {"~: 1\n", "c.yaml:1: a key must be the name of a flag, got nothing"},
      {"[a]: 1\n", "c.yaml:1: a key must be the name of a flag, got a list"},
      {"{a: 1}: 1\n", "c.yaml:1: a key must be the name of a flag, got a mapping"},
      {"- a\n- b\n", "c.yaml:1: must be a mapping of flags to values, got a list"},
      {"just text\n", "c.yaml:1: must be a mapping of flags to values, got one value"},
      {"a: 1\n---\nb: 2\n", "must be one document, got another"},
      {"a: &x 1\nb: *x\n", "c.yaml:1: anchors are not supported"},
      {"a: *x\n", "c.yaml:1: "},
      {"a: !!binary eHl6\n", "c.yaml:1: tags are not supported"},
      {"a: 1\nb: [1, 2\nc: 3\n", "not YAML: "},
      {"a: 1\n\tb: 2\n", "c.yaml:2: "},
      {"a: \"x\nb: 2\n", "not YAML: "},
      {"a: 'x", "not YAML: "},
      // Nothing of these can begin a document; the parser stays there.
      {"a: 1\n]\n", "c.yaml:2: not YAML: "},
      {"a: 1\n- h\n---\n", "c.yaml:2: not YAML: "},
      {"- h\nb: 1\n", "c.yaml:1: must be a mapping"},
      {std::string("a: 1\nb: \0\n", 10), "c.yaml:2: must be text in UTF-8, got the byte 0x00"},
      {"a: 1\nb: \x04\n", "c.yaml:2: must be text in UTF-8, got the byte 0x04"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(Error(text), HasSubstr(message)) << text;
    EXPECT_THAT(Error(text), Not(HasSubstr("\n"))) << text;
  }
}

// Each anchor would be ten of the one before.
TEST(ConfigFileTest, AliasesExpandToNothing) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string before = absl::StrCat("*a", i - 1);
    const std::vector<std::string> ten(10, before);
    absl::StrAppend(&bomb, "a", i, ": &a", i, " [", absl::StrJoin(ten, ", "), "]\n");
  }
  EXPECT_EQ(Error(bomb), "c.yaml:1: anchors are not supported");
}

TEST(ConfigFileTest, DepthAndSizeHaveBounds) {
  EXPECT_THAT(Error("a: " + std::string(100000, '[')), StartsWith("c.yaml:1: "));
  EXPECT_THAT(Error(std::string(kMaxConfigBytes + 1, ' ')),
              EndsWith("must be at most 1048576 bytes"));
  EXPECT_LT(Error(std::string(100000, 'k') + ": {}").size(), 300);
}

TEST(ConfigFileTest, FilesThatCannotBeRead) {
  EXPECT_EQ(ReadConfigFile("no/such/file").status().message(),
            "no/such/file: cannot be read: No such file or directory");
  EXPECT_EQ(ReadConfigFile("tests").status().message(), "tests: cannot be read: Is a directory");
  EXPECT_EQ(ReadConfigFile("/dev/zero").status().message(),
            "/dev/zero: must be at most 1048576 bytes");
}

}  // namespace
}  // namespace tidal
