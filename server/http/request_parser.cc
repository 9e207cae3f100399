#include "server/http/request_parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "server/observe/trace_context.h"

namespace tidal {

namespace http = boost::beast::http;

struct RequestParser::Impl {
  http::request_parser<http::string_body> parser;
  size_t max_header_bytes = 0;
  size_t frame_bytes = 0;  // taken of the header or, in a body, of what is around a chunk
  char last_byte = 0;      // of the header's part that was taken
};

namespace {

constexpr const char* kApiKeyHeader = "X-Api-Key";

RequestParser::State FaultOf(const boost::beast::error_code& error) {
  if (error == http::error::body_limit) return RequestParser::State::kBodyTooLarge;
  if (error == http::error::header_limit) return RequestParser::State::kHeaderTooLarge;
  return RequestParser::State::kBadRequest;
}

std::string ToString(boost::beast::string_view text) {
  return std::string(text.data(), text.size());
}

std::string WithoutQuery(std::string target) {
  target.resize(std::min(target.find_first_of("?#"), target.size()));
  return target;
}

// The values of all headers of one name.
std::string JoinFields(const http::fields& fields, const char* name) {
  std::string joined;
  const auto [begin, end] = fields.equal_range(name);
  for (auto field = begin; field != end; ++field) {
    if (!joined.empty()) joined += ',';
    joined += ToString(field->value());
  }
  return joined;
}

// The Authorization header, or the one that Anthropic's clients send a key in.
std::string AuthorizationOf(const http::fields& fields) {
  if (fields.count(http::field::authorization) > 0 || fields.count(kApiKeyHeader) == 0) {
    return ToString(fields[http::field::authorization]);
  }
  return "Bearer " + ToString(fields[kApiKeyHeader]);
}

// True where a line of the header or the trailer begins with white space: it would go on with the
// line before. Others on the way may see two lines.
bool IsFolded(char before, absl::string_view frame) {
  for (const char c : frame) {
    if (before == '\n' && (c == ' ' || c == '\t')) return true;
    before = c;
  }
  return false;
}

// What Beast accepts and a server must not, as others on the way may read it differently; empty
// where there is nothing.
absl::string_view HeaderFault(const http::request<http::string_body>& message) {
  const size_t hosts = message.count(http::field::host);
  if (hosts > 1 || (hosts == 0 && message.version() >= 11)) return "it must have one Host header";
  if (message.count(http::field::authorization) > 1) {
    return "it must have one Authorization header at most";
  }
  if (message.count(kApiKeyHeader) > 1) return "it must have one X-Api-Key header at most";
  const size_t encodings = message.count(http::field::transfer_encoding);
  if (encodings == 0) return "";
  const bool is_chunked = encodings == 1 && message.version() >= 11 &&
                          boost::beast::iequals(message[http::field::transfer_encoding], "chunked");
  return is_chunked ? "" : "its Transfer-Encoding must be chunked";
}

}  // namespace

RequestParser::RequestParser(size_t max_header_bytes, size_t max_body_bytes)
    : impl_(std::make_unique<Impl>()) {
  impl_->max_header_bytes = max_header_bytes;
  // Beast's own limit leaves out the first line or not, depending on how the bytes come, and does
  // not hold for the trailer; so we count, and twice ours is never reached.
  impl_->parser.header_limit(static_cast<uint32_t>(2 * max_header_bytes));
  impl_->parser.body_limit(max_body_bytes);
}

RequestParser::~RequestParser() = default;

RequestParser::State RequestParser::Fail(State state, absl::string_view fault) {
  fault_ = fault;
  return state_ = state;
}

RequestParser::State RequestParser::Put(absl::string_view* input) {
  auto& parser = impl_->parser;
  boost::beast::error_code error;
  // Beast takes one part a call: the header, a piece of body, what is around a chunk. The trailer
  // is of the last of these.
  while (!parser.is_done()) {
    const bool was_header_done = parser.is_header_done();
    const size_t body_before = parser.get().body().size();
    const size_t used = parser.put(boost::asio::buffer(input->data(), input->size()), error);
    const absl::string_view part = input->substr(0, used);
    input->remove_prefix(used);
    if (error && error != http::error::need_more) return Fail(FaultOf(error));
    const size_t body_bytes = parser.get().body().size() - body_before;
    if (body_bytes == 0) {
      if (IsFolded(was_header_done ? '\0' : impl_->last_byte, part)) {
        return Fail(State::kBadRequest, "its header lines must not be folded");
      }
      if (used > 0) impl_->last_byte = part.back();
    }
    impl_->frame_bytes += used - body_bytes;
    const size_t waiting = error ? input->size() : 0;  // of the same part
    if (impl_->frame_bytes + waiting > impl_->max_header_bytes) {
      return Fail(State::kHeaderTooLarge);
    }
    if (!was_header_done && parser.is_header_done()) {
      const absl::string_view fault = HeaderFault(parser.get());
      if (!fault.empty()) return Fail(State::kBadRequest, fault);
    }
    if (error || (used == 0 && input->empty())) break;
    impl_->frame_bytes = 0;
  }
  if (parser.is_done()) return state_ = State::kDone;
  return state_ = parser.is_header_done() ? State::kBody : State::kHeader;
}

std::string RequestParser::header(absl::string_view name) const {
  return ToString(impl_->parser.get()[boost::beast::string_view(name.data(), name.size())]);
}

std::string RequestParser::path() const {
  return WithoutQuery(ToString(impl_->parser.get().target()));
}

bool RequestParser::expects_continue() const {
  const auto value = impl_->parser.get()[http::field::expect];
  return boost::beast::iequals(value, "100-continue");
}

HttpRequest RequestParser::Release() {
  const bool keep_alive = impl_->parser.keep_alive();
  auto message = impl_->parser.release();
  HttpRequest request;
  request.method = ToString(message.method_string());
  request.path = WithoutQuery(ToString(message.target()));
  request.authorization = AuthorizationOf(message);
  request.content_type = ToString(message[http::field::content_type]);
  request.request_id = ToString(message["X-Request-Id"]);
  request.load_report_format = ToString(message["endpoint-load-metrics-format"]);
  request.origin = ToString(message[http::field::origin]);
  request.preflight_method = ToString(message[http::field::access_control_request_method]);
  request.preflight_headers = ToString(message[http::field::access_control_request_headers]);
  request.trace_parent = JoinFields(message, kTraceParentHeader);
  request.trace_state = JoinFields(message, kTraceStateHeader);
  request.body = std::move(message.body());
  request.keep_alive = keep_alive;
  request.chunked_ok = message.version() >= 11;
  return request;
}

}  // namespace tidal
