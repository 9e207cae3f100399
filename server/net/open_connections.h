// The connections of a port that have not ended, so that the port can close them when it goes.
#ifndef TIDAL_SERVER_NET_OPEN_CONNECTIONS_H_
#define TIDAL_SERVER_NET_OPEN_CONNECTIONS_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace tidal {

// Keeps no connection alive. Thread-safe. `Connection` has a Close() for any thread; neither that
// nor the connection's destructor runs under the lock, so both may use what the port locks.
template <typename Connection>
class OpenConnections {
 public:
  // False once CloseAll() was called: the connection is not kept, and must not start.
  [[nodiscard]] bool Add(const std::shared_ptr<Connection>& connection) {
    absl::MutexLock lock(&mutex_);
    if (closed_) return false;
    connections_.push_back(connection);
    if (connections_.size() >= prune_at_) {
      std::erase_if(connections_, [](const auto& weak) { return weak.expired(); });
      prune_at_ = 2 * connections_.size() + kFewest;
    }
    return true;
  }

  // Closes all of them; Add() takes no more.
  void CloseAll() {
    std::vector<std::weak_ptr<Connection>> connections;
    {
      absl::MutexLock lock(&mutex_);
      closed_ = true;
      connections.swap(connections_);
    }
    for (const auto& weak : connections) {
      if (const std::shared_ptr<Connection> connection = weak.lock()) connection->Close();
    }
  }

  // Those it remembers, open or ended: at most twice as many as were open at a time, and kFewest.
  size_t size() const {
    absl::MutexLock lock(&mutex_);
    return connections_.size();
  }

 private:
  static constexpr size_t kFewest = 64;

  mutable absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::weak_ptr<Connection>> connections_ ABSL_GUARDED_BY(mutex_);
  // Entries at which those that have ended are dropped.
  size_t prune_at_ ABSL_GUARDED_BY(mutex_) = kFewest;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_NET_OPEN_CONNECTIONS_H_
