#include "server/http/http_stats.h"

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace tidal {

void HttpStats::ConnectionOpened() {
  absl::MutexLock lock(&mutex_);
  ++connections_;
}

void HttpStats::ConnectionClosed() {
  absl::MutexLock lock(&mutex_);
  --connections_;
  TIDAL_CHECK(connections_ >= 0);
}

int HttpStats::connections() const {
  absl::MutexLock lock(&mutex_);
  return connections_;
}

void HttpStats::RequestStarted() {
  absl::MutexLock lock(&mutex_);
  ++in_flight_;
}

void HttpStats::RequestEnded(const std::string& handler, int status) {
  absl::MutexLock lock(&mutex_);
  --in_flight_;
  TIDAL_CHECK(in_flight_ >= 0);
  ++ended_[{handler, status}];
}

bool HttpStats::WaitForNoRequests(absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return in_flight_ == 0; };
  return mutex_.AwaitWithTimeout(absl::Condition(&idle), timeout);
}

std::string HttpStats::Render() const {
  absl::MutexLock lock(&mutex_);
  std::string text =
      "# HELP tidal:http_requests_total HTTP requests that ended, by route and status.\n"
      "# TYPE tidal:http_requests_total counter\n";
  for (const auto& [key, count] : ended_) {
    absl::StrAppend(&text, "tidal:http_requests_total{handler=\"", key.first, "\",code=\"",
                    key.second, "\"} ", count, "\n");
  }
  absl::StrAppend(&text,
                  "# HELP tidal:http_requests_in_flight HTTP requests that are being answered.\n"
                  "# TYPE tidal:http_requests_in_flight gauge\n"
                  "tidal:http_requests_in_flight ",
                  in_flight_,
                  "\n# HELP tidal:http_connections Open HTTP connections.\n"
                  "# TYPE tidal:http_connections gauge\n"
                  "tidal:http_connections ",
                  connections_, "\n");
  return text;
}

}  // namespace tidal
