// What the gateway counts of its own work.
#ifndef TIDAL_SERVER_HTTP_HTTP_STATS_H_
#define TIDAL_SERVER_HTTP_HTTP_STATS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace tidal {

// Thread-safe.
class HttpStats {
 public:
  HttpStats();
  void ConnectionOpened();
  void ConnectionClosed();
  int connections() const;

  // Bytes of requests that are in memory: adds, and returns the sum.
  size_t HoldBytes(size_t bytes);
  void ReleaseBytes(size_t bytes);

  // `handler`, here and below, is a route's path, so that the number of series is bounded.
  void RequestStarted(const std::string& handler);
  void RequestRouted(const std::string& from, const std::string& handler);
  void RequestEnded(const std::string& handler, int status);
  // Requests of `handler` whose replies are not out yet.
  int running(const std::string& handler) const;

  // True when no request runs, false when `timeout` passed before.
  bool WaitForNoRequests(absl::Duration timeout) const;

  // Prometheus text: tidal:http_requests_total{handler,code}, tidal:http_requests_in_flight,
  // tidal:http_connections, tidal:http_request_bytes_held.
  std::string Render() const;

 private:
  mutable absl::Mutex mutex_;
  int connections_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t held_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, int> running_ ABSL_GUARDED_BY(mutex_);  // by route; in_flight_ together
  std::map<std::pair<std::string, int>, uint64_t> ended_
      ABSL_GUARDED_BY(mutex_);  // by route and status
};

}  // namespace tidal

#endif  // TIDAL_SERVER_HTTP_HTTP_STATS_H_
