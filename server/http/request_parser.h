// HTTP/1.x requests from bytes, without I/O. Not thread-safe.
#ifndef TIDAL_SERVER_HTTP_REQUEST_PARSER_H_
#define TIDAL_SERVER_HTTP_REQUEST_PARSER_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "server/http/http_message.h"

namespace tidal {

// Parses one request. Its memory is at most max_header_bytes + max_body_bytes.
class RequestParser {
 public:
  enum class State {
    kHeader,  // wants more bytes of the header
    kBody,    // wants more bytes of the body
    kDone,
    kBadRequest,
    kHeaderTooLarge,  // or what comes with a chunk of the body, or after the last one
    kBodyTooLarge,
  };

  RequestParser(size_t max_header_bytes, size_t max_body_bytes);
  ~RequestParser();

  // Takes bytes off the front of `input`, as many as it can use; what it leaves is the start of the
  // next call's input. Bytes after the end of the request are left. Not to be called once the
  // state is neither kHeader nor kBody.
  State Put(absl::string_view* input);
  State state() const { return state_; }

  // The client waits for "100 Continue" before it sends the body. Valid from kBody on.
  bool expects_continue() const;

  // In kBadRequest: what about it, for the client.
  absl::string_view fault() const { return fault_; }

  // The value of a header; empty when it is absent or has not come. Valid until kDone.
  std::string header(absl::string_view name) const;

  // The target without its query; empty when it has not come. Valid until kDone.
  std::string path() const;

  // The request; once, in kDone.
  HttpRequest Release();

 private:
  struct Impl;  // hides Boost.Beast
  State Fail(State state, absl::string_view fault = "it is not valid HTTP/1.1");

  std::unique_ptr<Impl> impl_;
  State state_ = State::kHeader;
  absl::string_view fault_;
};

}  // namespace tidal

#endif  // TIDAL_SERVER_HTTP_REQUEST_PARSER_H_
