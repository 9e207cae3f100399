// The border between the gateway and the APIs that it speaks. An API reads a body into calls of the
// service and writes their events back as its own JSON; the gateway runs the calls and moves bytes,
// and knows no format.
//
// To add an API: a parser that gives an ApiRequest, an ApiReply for what comes back, an ApiFormat
// for what goes wrong, and its paths in server/gateway/router.cc.
#ifndef TIDAL_SERVER_OPENAI_API_REPLY_H_
#define TIDAL_SERVER_OPENAI_API_REPLY_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/tidal/v1/inference.pb.h"
#include "server/openai/openai_error.h"

namespace tidal {

// What the operator wants of the replies of completions and chats.
struct ReplyDefaults {
  bool force_include_usage = false;  // streams tell of their usage in every chunk, asked to or not
  bool return_tokens_as_token_ids = false;  // unless the request says it: tokens by their ids
};

// What every name in a reply is made of. An id is the same wherever it stands in the reply, so it
// is made of these and of places (the second item), once.
struct ReplyIdentity {
  std::string request_id;       // fits a header and a log line
  int64_t created_seconds = 0;  // Unix time
  ReplyDefaults defaults = {};
};

// The reply to one request, from the events of its calls: server-sent events where the request asks
// for a stream, else one body. Not thread-safe.
class ApiReply {
 public:
  virtual ~ApiReply() = default;

  // Appends the server-sent events, none or more, that `event` of call `call` gives; nothing where
  // the reply is not streamed. INTERNAL where the event does not fit the request.
  virtual absl::Status OnEvent(size_t call, const v1::GenerateResponse& event,
                               std::string* out) = 0;

  // After the last event of the last call. Appends the server-sent events that end the stream, or
  // the whole body. INTERNAL where something is missing.
  virtual absl::Status Finish(std::string* out) = 0;

  // The error that a failed call or a status of the above means here: the names of fields are those
  // of the request.
  virtual ApiError ErrorOf(const absl::Status& status) const = 0;

  // Instead of Finish(), in a stream that has begun: appends the server-sent events that tell of
  // `error` and end the stream. Never called where the reply is not streamed.
  virtual void Fail(const ApiError& error, std::string* out) = 0;
};

// A request that was read and may run.
struct ApiRequest {
  std::vector<v1::GenerateRequest> calls;  // one a prompt; at least one
  std::string request_id;                  // of the body; empty when it has none
  bool stream = false;                     // the reply is server-sent events
  // Headers of the reply besides the usual ones, where it is none of an error.
  std::vector<std::pair<std::string, std::string>> headers;
  ReplyDefaults defaults;  // for the ReplyIdentity
  // Called once.
  std::function<std::unique_ptr<ApiReply>(const ReplyIdentity&)> make_reply;
};

// INVALID_ARGUMENT "field: must be ..., got ..." for a body that cannot be done.
using ApiParser = absl::StatusOr<ApiRequest> (*)(absl::string_view body);

// What all replies at an API's paths share, those of the gateway itself (401, 404, 413) too.
struct ApiFormat {
  // The body of an error's reply.
  std::string (*render_error)(const ApiError& error, const std::string& request_id);
  // A header of each reply that has the request's id, besides X-Request-Id. Empty: none.
  const char* request_id_header = "";
};

}  // namespace tidal

#endif  // TIDAL_SERVER_OPENAI_API_REPLY_H_
