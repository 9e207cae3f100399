// Who may use the server: the one place that looks at keys, for HTTP and for gRPC.
#ifndef TIDAL_SERVER_SECURITY_API_KEYS_H_
#define TIDAL_SERVER_SECURITY_API_KEYS_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/security/file_watcher.h"

namespace tidal {

// Holds digests, not keys. Thread-safe.
class ApiKeys {
 public:
  // The keys of a list, which never change, and those of a file (may be empty), which are read
  // again whenever it changes. A file that cannot be read then leaves the keys as they were, and an
  // error in the log. Without a list and without a file nobody is asked for a key.
  // INVALID_ARGUMENT names the flag at fault.
  static absl::StatusOr<std::shared_ptr<const ApiKeys>> Load(
      const std::vector<std::string>& keys, const std::string& file,
      absl::Duration reload_interval = kReloadInterval);

  // Is a key asked for?
  bool required() const { return required_; }

  // The tenant behind the value of an Authorization header: the key's name, for a key without one
  // "key-" and the first 12 digits of its SHA-256. Empty when no key is asked for. UNAUTHENTICATED
  // when the key is missing or wrong; takes the same time whatever is wrong with it.
  absl::StatusOr<std::string> TenantOf(absl::string_view authorization) const;

  // Calls of TenantOf() that were refused.
  uint64_t refused() const { return refused_.load(); }

 private:
  using Digest = std::array<unsigned char, 32>;  // SHA-256
  struct Entry {
    Digest digest;
    std::string tenant;
  };
  using Entries = std::vector<Entry>;

  ApiKeys(std::string file, absl::Duration reload_interval);
  static Digest DigestOf(absl::string_view key);
  static Entry MakeEntry(absl::string_view key, const std::string& name);
  // The fixed entries and those of the file.
  absl::StatusOr<Entries> ReadAll() const;
  absl::Status LoadAll();
  void Reload();

  const std::string file_;
  bool required_ = false;
  Entries fixed_;
  mutable std::atomic<uint64_t> refused_{0};
  mutable absl::Mutex mutex_;
  std::shared_ptr<const Entries> entries_ ABSL_GUARDED_BY(mutex_);
  FileWatcher watcher_;  // last: its thread ends before the rest goes
};

}  // namespace tidal

#endif  // TIDAL_SERVER_SECURITY_API_KEYS_H_
