#include "server/http/request_parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "server/tracing/trace_context.h"

namespace tidal {

namespace http = boost::beast::http;

struct RequestParser::Impl {
  http::request_parser<http::string_body> parser;
};

namespace {

RequestParser::State FaultOf(const boost::beast::error_code& error) {
  if (error == http::error::body_limit) return RequestParser::State::kBodyTooLarge;
  if (error == http::error::header_limit) return RequestParser::State::kHeaderTooLarge;
  return RequestParser::State::kBadRequest;
}

std::string ToString(boost::beast::string_view text) {
  return std::string(text.data(), text.size());
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

}  // namespace

RequestParser::RequestParser(size_t max_header_bytes, size_t max_body_bytes)
    : impl_(std::make_unique<Impl>()) {
  impl_->parser.header_limit(static_cast<uint32_t>(max_header_bytes));
  impl_->parser.body_limit(max_body_bytes);
  impl_->parser.eager(true);
}

RequestParser::~RequestParser() = default;

RequestParser::State RequestParser::Put(absl::string_view* input) {
  auto& parser = impl_->parser;
  boost::beast::error_code error;
  while (!parser.is_done()) {
    const size_t used = parser.put(boost::asio::buffer(input->data(), input->size()), error);
    input->remove_prefix(used);
    if (error == http::error::need_more) break;
    if (error) return state_ = FaultOf(error);
    if (used == 0 && input->empty()) break;
  }
  if (parser.is_done()) return state_ = State::kDone;
  return state_ = parser.is_header_done() ? State::kBody : State::kHeader;
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
  request.path = ToString(message.target());
  request.path.resize(std::min(request.path.find_first_of("?#"), request.path.size()));
  request.authorization = ToString(message[http::field::authorization]);
  request.request_id = ToString(message["X-Request-Id"]);
  request.trace_parent = JoinFields(message, kTraceParentHeader);
  request.trace_state = JoinFields(message, kTraceStateHeader);
  request.body = std::move(message.body());
  request.keep_alive = keep_alive;
  request.chunked_ok = message.version() >= 11;
  return request;
}

}  // namespace tidal
