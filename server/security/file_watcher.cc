#include "server/security/file_watcher.h"

#include <sys/stat.h>

#include <utility>

namespace tidal {
namespace {

int64_t Nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

std::vector<std::string> WithoutEmpty(std::vector<std::string> paths) {
  std::erase(paths, "");
  return paths;
}

}  // namespace

FileWatcher::FileWatcher(const std::vector<std::string>& paths, absl::Duration interval,
                         std::function<void()> on_change)
    : paths_(WithoutEmpty(paths)), interval_(interval), on_change_(std::move(on_change)) {
  for (const std::string& path : paths_) seen_.push_back(FingerprintOf(path));
}

FileWatcher::~FileWatcher() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void FileWatcher::Start() {
  if (!paths_.empty()) thread_ = std::thread([this] { Watch(); });
}

FileWatcher::Fingerprint FileWatcher::FingerprintOf(const std::string& path) {
  struct stat file;
  if (stat(path.c_str(), &file) != 0) return {};
  return {file.st_dev, file.st_ino, file.st_size, Nanoseconds(file.st_mtim),
          Nanoseconds(file.st_ctim)};
}

void FileWatcher::Watch() {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), interval_)) return;
    }
    std::vector<Fingerprint> now;
    for (const std::string& path : paths_) now.push_back(FingerprintOf(path));
    if (now == seen_) continue;
    seen_ = std::move(now);
    on_change_();
  }
}

}  // namespace tidal
