// One request of the load generator, over gRPC or HTTP.
#ifndef TIDAL_TOOLS_BENCH_LOAD_CLIENT_H_
#define TIDAL_TOOLS_BENCH_LOAD_CLIENT_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tools/bench/load_options.h"

namespace tidal {

// What became of one request.
struct RequestTrace {
  absl::Time start;  // when it was due: before it was sent, where the generator was late
  absl::Time sent, end;
  absl::Time first_token;
  absl::Time last_token;
  int32_t num_tokens = 0;  // first_token and last_token are set where it is positive
  absl::Status status;
};

// Streams one request to its end, blocking; fills all of the trace but the first three
// times. RESOURCE_EXHAUSTED means that the server refused it. Thread-safe.
using RequestSender = std::function<void(const std::vector<uint32_t>& prompt, RequestTrace& trace)>;

// INVALID_ARGUMENT for a target that is no HOST:PORT.
absl::StatusOr<RequestSender> MakeHttpSender(const LoadOptions& options);
RequestSender MakeGrpcSender(const LoadOptions& options);

}  // namespace tidal

#endif  // TIDAL_TOOLS_BENCH_LOAD_CLIENT_H_
