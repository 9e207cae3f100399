#include "server/observe/http_post.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tidal {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr size_t kMaxReplyBytes = 64 << 10;

}  // namespace

absl::Status HttpPost(const HttpUrl& url, std::string json, absl::Duration timeout) {
  net::io_context io;
  error_code error;
  const auto endpoints = net::ip::tcp::resolver(io).resolve(url.host, url.port, error);
  if (error) return absl::UnavailableError(absl::StrCat("no such host: ", error.message()));

  http::request<http::string_body> request(http::verb::post, url.target, 11);
  request.set(http::field::host, absl::StrCat(url.host, ":", url.port));
  request.set(http::field::content_type, "application/json");
  request.set(http::field::user_agent, "tidalserve");
  request.keep_alive(false);
  request.body() = std::move(json);
  request.prepare_payload();

  // Only asynchronous operations obey the stream's timeout; run() waits for each of them.
  beast::tcp_stream stream(io);
  stream.expires_after(absl::ToChronoNanoseconds(timeout));
  const auto note = [&error](const error_code& result, const auto&...) { error = result; };
  const auto wait = [&io] {
    io.restart();
    io.run();
  };
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> reply;
  reply.body_limit(kMaxReplyBytes);
  stream.async_connect(endpoints, note);
  wait();
  if (!error) {
    http::async_write(stream, request, note);
    wait();
  }
  if (!error) {
    http::async_read(stream, buffer, reply, note);
    wait();
  }
  if (error) return absl::UnavailableError(error.message());
  const int status = reply.get().result_int();
  if (status / 100 == 2) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("answered with status ", status));
}

}  // namespace tidal
