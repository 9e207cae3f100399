#include "server/security/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/observe/logging.h"
#include "server/security/api_key_file.h"
#include "server/security/regular_file.h"

namespace tidal {
namespace {

constexpr size_t kMaxFileBytes = 8 << 20;
constexpr absl::string_view kScheme = "Bearer ";

}  // namespace

ApiKeys::Digest ApiKeys::DigestOf(absl::string_view key) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

ApiKeys::Entry ApiKeys::MakeEntry(absl::string_view key, const std::string& name) {
  const Digest digest = DigestOf(key);
  if (!name.empty()) return {digest, name};
  const absl::string_view start(reinterpret_cast<const char*>(digest.data()), 6);
  return {digest, absl::StrCat("key-", absl::BytesToHexString(start))};
}

ApiKeys::ApiKeys(std::string file, absl::Duration reload_interval)
    : file_(std::move(file)), watcher_({file_}, reload_interval, [this] { Reload(); }) {}

absl::StatusOr<std::shared_ptr<const ApiKeys>> ApiKeys::Load(const std::vector<std::string>& keys,
                                                             const std::string& file,
                                                             absl::Duration reload_interval) {
  std::shared_ptr<ApiKeys> out(new ApiKeys(file, reload_interval));
  out->required_ = !keys.empty() || !file.empty();
  for (const std::string& key : keys) {
    if (absl::Status status = CheckApiKey(key); !status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("api_key: must be keys with commas between; ", status.message()));
    }
    out->fixed_.push_back(MakeEntry(key, ""));
  }
  TIDAL_RETURN_IF_ERROR(out->LoadAll());
  out->watcher_.Start();
  return out;
}

absl::StatusOr<ApiKeys::Entries> ApiKeys::ReadAll() const {
  Entries entries = fixed_;
  if (!file_.empty()) {
    TIDAL_ASSIGN_OR_RETURN(const std::string text, ReadRegularFile(file_, kMaxFileBytes));
    TIDAL_ASSIGN_OR_RETURN(const std::vector<ApiKey> keys, ParseApiKeyFile(text));
    for (const ApiKey& key : keys) entries.push_back(MakeEntry(key.key, key.name));
  }
  std::map<Digest, std::string> tenants;
  for (const Entry& entry : entries) {
    const auto [known, is_new] = tenants.emplace(entry.digest, entry.tenant);
    if (!is_new && known->second != entry.tenant) {
      return absl::InvalidArgumentError(
          absl::StrCat("a key must have one name, one has ", known->second, " and ", entry.tenant));
    }
  }
  return entries;
}

absl::Status ApiKeys::LoadAll() {
  absl::StatusOr<Entries> entries = ReadAll();
  if (!entries.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("api_key_file: ", file_, ": ", entries.status().message()));
  }
  auto shared = std::make_shared<const Entries>(*std::move(entries));
  absl::MutexLock lock(&mutex_);
  entries_ = std::move(shared);
  return absl::OkStatus();
}

void ApiKeys::Reload() {
  if (const absl::Status status = LoadAll(); !status.ok()) {
    Log(LogLevel::kError, "the API keys could not be read again; the old ones stay",
        {{"reason", status.message()}});
  } else {
    Log(LogLevel::kInfo, "API keys read again", {{"file", file_}});
  }
}

absl::StatusOr<std::string> ApiKeys::TenantOf(absl::string_view authorization) const {
  if (!required_) return std::string();
  absl::string_view key;
  if (absl::StartsWithIgnoreCase(authorization, kScheme)) {
    key = absl::StripAsciiWhitespace(authorization.substr(kScheme.size()));
  }
  std::shared_ptr<const Entries> entries;
  {
    absl::MutexLock lock(&mutex_);
    entries = entries_;
  }
  // All of them, each in constant time: how long it takes says nothing of a key.
  const Digest digest = DigestOf(key);
  const Entry* found = nullptr;
  for (const Entry& entry : *entries) {
    if (CRYPTO_memcmp(digest.data(), entry.digest.data(), digest.size()) == 0) found = &entry;
  }
  if (found != nullptr) return found->tenant;
  refused_.fetch_add(1);
  return absl::UnauthenticatedError("the API key is missing or wrong");
}

}  // namespace tidal
