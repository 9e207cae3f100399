// The gateway's span of one HTTP request, between the caller's and the server's.
#ifndef TIDAL_SERVER_HTTP_HTTP_SPAN_H_
#define TIDAL_SERVER_HTTP_HTTP_SPAN_H_

#include <string>

#include "absl/time/time.h"
#include "server/http/http_message.h"
#include "server/observe/tracer.h"

namespace tidal {

// Where the gateway exports nothing it takes no part in the trace: the caller's context is passed
// on as it came. Not thread-safe.
class HttpSpan {
 public:
  // Begins now. `tracer` outlives it; null: there is none.
  HttpSpan(Tracer* tracer, const HttpRequest& request, const std::string& route);
  HttpSpan(const HttpSpan&) = delete;
  HttpSpan& operator=(const HttpSpan&) = delete;

  // What the calls that answer the request are children of; maybe not valid().
  const TraceContext& context() const { return context_; }

  // The reply is complete, or its client is gone (499). `error`, where it began well and broke off
  // with an error: in a word, what. Only the first call counts.
  void End(int status, const std::string& error = "");

 private:
  Tracer* const tracer_;
  const TraceContext caller_;
  const TraceContext context_;
  const std::string method_, route_;
  const absl::Time start_;
  bool ended_ = false;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_HTTP_HTTP_SPAN_H_
