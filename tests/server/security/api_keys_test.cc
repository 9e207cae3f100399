#include "server/security/api_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/time/clock.h"

namespace tidal {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kInterval = absl::Milliseconds(10);

class ApiKeysTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    file_ = folder_ / "keys";
  }
  void TearDown() override { fs::remove_all(folder_); }

  static void Write(const fs::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  // As an editor does it: a new file under the old name.
  void Replace(const std::string& text) {
    Write(folder_ / "new", text);
    fs::rename(folder_ / "new", file_);
  }
  void Load(const std::vector<std::string>& keys = {}) {
    auto loaded = ApiKeys::Load(keys, file_, kInterval);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    keys_ = *std::move(loaded);
  }
  // "?" for a key that is not known.
  std::string Tenant(const std::string& key) const {
    return keys_->TenantOf("Bearer " + key).value_or("?");
  }
  bool Eventually(const std::function<bool()>& condition) const {
    for (int i = 0; i < 1000; ++i) {
      if (condition()) return true;
      absl::SleepFor(kInterval);
    }
    return false;
  }

  fs::path folder_, file_;
  std::shared_ptr<const ApiKeys> keys_;
};

TEST_F(ApiKeysTest, NobodyIsAskedWithoutKeys) {
  const auto keys = *ApiKeys::Load({}, "");
  EXPECT_FALSE(keys->required());
  EXPECT_EQ(keys->TenantOf("").value(), "");
  EXPECT_EQ(keys->TenantOf("Bearer x").value(), "");
}

TEST_F(ApiKeysTest, TheTenantIsTheKeysName) {
  Write(file_, "alice: one\nalice: two\nbob: three\nfour\n");
  Load({"five"});
  EXPECT_TRUE(keys_->required());
  EXPECT_EQ(Tenant("one"), "alice");
  EXPECT_EQ(Tenant("two"), "alice");
  EXPECT_EQ(Tenant("three"), "bob");
  // SHA-256 of "four" and "five".
  EXPECT_EQ(Tenant("four"), "key-04efaf080f5a");
  EXPECT_EQ(Tenant("five"), "key-222b0bd51fce");
  EXPECT_EQ(Tenant("six"), "?");
  EXPECT_EQ(keys_->refused(), 1);
}

TEST_F(ApiKeysTest, ReadsTheHeaderAsClientsWriteIt) {
  Write(file_, "one");
  Load();
  for (const char* good : {"Bearer one", "bearer one", "BEARER  one", "Bearer one "}) {
    EXPECT_TRUE(keys_->TenantOf(good).ok()) << good;
  }
  for (const char* bad : {"", "one", "Bearer", "Bearer ", "Bearerone", "Basic one", "Bearer on",
                          "Bearer onee", "Bearer ONE", "Bearer one two", "Bearer alice: one"}) {
    const absl::Status status = keys_->TenantOf(bad).status();
    EXPECT_TRUE(absl::IsUnauthenticated(status)) << bad;
    EXPECT_EQ(status.message(), "the API key is missing or wrong");
  }
}

TEST_F(ApiKeysTest, StartErrorsNameTheFlag) {
  EXPECT_THAT(std::string(ApiKeys::Load({"a b"}, "").status().message()),
              HasSubstr("api_key: must be keys"));
  EXPECT_THAT(std::string(ApiKeys::Load({}, file_).status().message()),
              HasSubstr("keys: must be a readable file"));
  Write(file_, "");
  EXPECT_THAT(std::string(ApiKeys::Load({}, file_).status().message()),
              HasSubstr("api_key_file: "));
  EXPECT_THAT(std::string(ApiKeys::Load({}, folder_).status().message()),
              HasSubstr("api_key_file: "));
  Write(file_, "a: one\nb: one\n");
  const std::string twice(ApiKeys::Load({}, file_).status().message());
  EXPECT_THAT(twice, HasSubstr("a key must have one name, one has a and b"));
  EXPECT_THAT(twice, Not(HasSubstr(": one")));
}

TEST_F(ApiKeysTest, FollowsTheFile) {
  Write(file_, "alice: one\n");
  Load({"fixed"});
  Replace("alice: two\nbob: three\n");
  EXPECT_TRUE(Eventually([this] { return Tenant("three") == "bob"; }));
  EXPECT_EQ(Tenant("two"), "alice");
  EXPECT_EQ(Tenant("one"), "?");
  EXPECT_NE(Tenant("fixed"), "?");
  Write(file_, "alice: four\n");  // in place
  EXPECT_TRUE(Eventually([this] { return Tenant("four") == "alice"; }));
  EXPECT_EQ(Tenant("two"), "?");
}

TEST_F(ApiKeysTest, FollowsTheLinksOfAKubernetesSecret) {
  // keys -> ..data/keys, ..data -> ..1; an update makes ..2 and swings ..data there.
  fs::create_directories(folder_ / "..1");
  fs::create_directories(folder_ / "..2");
  Write(folder_ / "..1" / "keys", "alice: one\n");
  Write(folder_ / "..2" / "keys", "alice: two\n");
  // The same size and the same time: what differs is the file itself.
  fs::last_write_time(folder_ / "..2" / "keys", fs::last_write_time(folder_ / "..1" / "keys"));
  fs::create_directory_symlink("..1", folder_ / "..data");
  fs::create_symlink("..data/keys", file_);
  Load();
  EXPECT_EQ(Tenant("one"), "alice");
  fs::create_directory_symlink("..2", folder_ / "..data_tmp");
  fs::rename(folder_ / "..data_tmp", folder_ / "..data");
  fs::remove_all(folder_ / "..1");
  EXPECT_TRUE(Eventually([this] { return Tenant("two") == "alice"; }));
  EXPECT_EQ(Tenant("one"), "?");
}

TEST_F(ApiKeysTest, ABrokenFileChangesNothing) {
  Write(file_, "alice: one\n");
  Load();
  ::testing::internal::CaptureStderr();
  Replace("alice: SECRET with spaces\n");
  absl::SleepFor(20 * kInterval);
  EXPECT_EQ(Tenant("one"), "alice");
  fs::remove(file_);
  absl::SleepFor(20 * kInterval);
  EXPECT_EQ(Tenant("one"), "alice");
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, Not(HasSubstr("SECRET")));
  const std::string error = "the API keys could not be read again; the old ones stay";
  const size_t first = log.find(error), second = log.find(error, first + 1);
  EXPECT_NE(first, std::string::npos) << log;
  EXPECT_NE(second, std::string::npos) << "one line a change: " << log;
  EXPECT_EQ(log.find(error, second + 1), std::string::npos) << log;
  Replace("alice: two\n");
  EXPECT_TRUE(Eventually([this] { return Tenant("two") == "alice"; }));
}

TEST_F(ApiKeysTest, OnlyARegularFileIsRead) {
  ASSERT_EQ(mkfifo(file_.c_str(), 0600), 0);
  const fs::path absolute = fs::absolute(file_);
  for (const std::string& path : {absolute.string(), folder_.string(), std::string("/dev/null")}) {
    EXPECT_EQ(ApiKeys::Load({}, path).status().message(),
              "api_key_file: " + path + ": must be a regular file, as it is read again and again");
  }
}

TEST_F(ApiKeysTest, AFifoInTheFilesPlaceDoesNotEndTheReloading) {
  Write(file_, "alice: one\n");
  Load();
  ASSERT_EQ(mkfifo((folder_ / "new").c_str(), 0600), 0);
  fs::rename(folder_ / "new", file_);
  absl::SleepFor(20 * kInterval);
  EXPECT_EQ(Tenant("one"), "alice");
  Replace("alice: two\n");
  EXPECT_TRUE(Eventually([this] { return Tenant("two") == "alice"; }));
}

TEST_F(ApiKeysTest, ChecksWhileItReloads) {
  Write(file_, "alice: one\nbob: 0\n");
  Load();
  std::thread writer([this] {
    for (int i = 1; i <= 50; ++i) {
      Replace("alice: one\nbob: " + std::to_string(i) + "\n");
      absl::SleepFor(kInterval / 2);
    }
  });
  for (int i = 0; i < 20'000; ++i) ASSERT_EQ(Tenant("one"), "alice");
  writer.join();
}

}  // namespace
}  // namespace tidal
