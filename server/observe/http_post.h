// One POST over plain HTTP/1.1, waited for.
#ifndef TIDAL_SERVER_OBSERVE_HTTP_POST_H_
#define TIDAL_SERVER_OBSERVE_HTTP_POST_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/observe/http_url.h"

namespace tidal {

// Blocks the calling thread, at most about `timeout` after the name is resolved. UNAVAILABLE where
// the server cannot be reached or does not answer in time, FAILED_PRECONDITION where its answer is
// not 2xx. On a connection of its own. Thread-safe.
absl::Status HttpPost(const HttpUrl& url, std::string json, absl::Duration timeout);

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_HTTP_POST_H_
