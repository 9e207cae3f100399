#include "server/http/http_stats.h"

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace tidal {

// A rate over a series that appears with its first event misses that event; so what alerts look at
// is there from the start, as 0.
HttpStats::HttpStats() {
  for (const char* handler : {"/v1/completions", "/v1/chat/completions"}) {
    for (const int status : {200, 400, 429, 499, 500, 503}) ended_[{handler, status}] = 0;
  }
}

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

size_t HttpStats::HoldBytes(size_t bytes) {
  absl::MutexLock lock(&mutex_);
  return held_bytes_ += bytes;
}

void HttpStats::ReleaseBytes(size_t bytes) {
  absl::MutexLock lock(&mutex_);
  TIDAL_CHECK(held_bytes_ >= bytes);
  held_bytes_ -= bytes;
}

void HttpStats::RequestStarted(const std::string& handler) {
  absl::MutexLock lock(&mutex_);
  ++in_flight_;
  ++running_[handler];
}

void HttpStats::RequestRouted(const std::string& from, const std::string& handler) {
  absl::MutexLock lock(&mutex_);
  --running_[from];
  ++running_[handler];
}

int HttpStats::running(const std::string& handler) const {
  absl::MutexLock lock(&mutex_);
  const auto found = running_.find(handler);
  return found == running_.end() ? 0 : found->second;
}

void HttpStats::RequestEnded(const std::string& handler, int status) {
  absl::MutexLock lock(&mutex_);
  --in_flight_;
  TIDAL_CHECK(in_flight_ >= 0);
  --running_[handler];
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
  const auto gauge = [&text](const char* name, const char* help, auto value) {
    absl::StrAppend(&text, "# HELP ", name, " ", help, "\n# TYPE ", name, " gauge\n", name, " ",
                    value, "\n");
  };
  gauge("tidal:http_requests_in_flight", "HTTP requests that are being answered.", in_flight_);
  gauge("tidal:http_connections", "Open HTTP connections.", connections_);
  gauge("tidal:http_request_bytes_held", "Bytes of HTTP requests in memory.", held_bytes_);
  return text;
}

}  // namespace tidal
