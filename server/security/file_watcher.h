// Tells when a file has become another one or has other content. Works by polling, which is the
// same everywhere: files written in place, renamed over the old one, and Kubernetes' secrets, whose
// names are links that swing to another folder.
#ifndef TIDAL_SERVER_SECURITY_FILE_WATCHER_H_
#define TIDAL_SERVER_SECURITY_FILE_WATCHER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace tidal {

// How often the files of keys and certificates are looked at.
inline constexpr absl::Duration kReloadInterval = absl::Seconds(1);

class FileWatcher {
 public:
  // Remembers how the files are now; they need not exist. Empty paths are left out. Read them after
  // this and before Start(), and no change is missed.
  FileWatcher(const std::vector<std::string>& paths, absl::Duration interval,
              std::function<void()> on_change);
  // Waits for an `on_change` that runs.
  ~FileWatcher();

  // From now on `on_change` runs once after each change, on a thread of the watcher's own.
  void Start();

 private:
  // Of the file that a path leads to; all zero where there is none.
  struct Fingerprint {
    uint64_t device = 0, inode = 0;
    int64_t size = 0, modified_ns = 0, changed_ns = 0;
    bool operator==(const Fingerprint&) const = default;
  };

  static Fingerprint FingerprintOf(const std::string& path);
  void Watch();

  const std::vector<std::string> paths_;
  const absl::Duration interval_;
  const std::function<void()> on_change_;
  std::vector<Fingerprint> seen_;  // by path; the thread's own once it runs
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_SECURITY_FILE_WATCHER_H_
