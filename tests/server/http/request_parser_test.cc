#include "server/http/request_parser.h"

#include <gtest/gtest.h>

#include <string>

#include "server/http/router.h"

namespace tidal {
namespace {

using State = RequestParser::State;

constexpr char kPost[] =
    "POST /v1/completions?x=1 HTTP/1.1\r\nAuthorization: Bearer k\r\nx-request-id: r\r\n"
    "Content-Length: 2\r\n\r\n{}";

TEST(RequestParser, OneRequestInOnePiece) {
  RequestParser parser(8192, 100);
  const std::string bytes = std::string(kPost) + "GET";
  absl::string_view input = bytes;
  ASSERT_EQ(parser.Put(&input), State::kDone);
  EXPECT_EQ(input, "GET") << "the next request is left";
  const HttpRequest request = parser.Release();
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.path, "/v1/completions");
  EXPECT_EQ(request.authorization, "Bearer k");
  EXPECT_EQ(request.request_id, "r");
  EXPECT_EQ(request.body, "{}");
  EXPECT_TRUE(request.keep_alive);
  EXPECT_TRUE(request.chunked_ok);
}

TEST(RequestParser, TraceHeaders) {
  RequestParser parser(8192, 100);
  absl::string_view input =
      "GET / HTTP/1.1\r\nTraceParent:  00-a \r\nTRACESTATE: a=1\r\ntracestate: b=2\r\n\r\n";
  ASSERT_EQ(parser.Put(&input), State::kDone);
  const HttpRequest request = parser.Release();
  EXPECT_EQ(request.trace_parent, "00-a");
  EXPECT_EQ(request.trace_state, "a=1,b=2") << "several headers are one list";
}

TEST(RequestParser, EverySplit) {
  const std::string bytes = kPost;
  for (size_t split = 0; split <= bytes.size(); ++split) {
    RequestParser parser(8192, 100);
    std::string buffer = bytes.substr(0, split);
    absl::string_view input = buffer;
    State state = parser.Put(&input);
    if (state != State::kDone) {
      buffer = std::string(input) + bytes.substr(split);
      input = buffer;
      state = parser.Put(&input);
    }
    ASSERT_EQ(state, State::kDone) << split;
    EXPECT_TRUE(input.empty());
    EXPECT_EQ(parser.Release().body, "{}");
  }
}

State Parse(const std::string& bytes) {
  RequestParser parser(200, 10);
  absl::string_view input = bytes;
  return parser.Put(&input);
}

TEST(RequestParser, Faults) {
  EXPECT_EQ(Parse(""), State::kHeader);
  EXPECT_EQ(Parse("GET / HTTP/1.1\r\n"), State::kHeader);
  EXPECT_EQ(Parse("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345"), State::kBody);
  EXPECT_EQ(Parse("POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n"), State::kBodyTooLarge);
  EXPECT_EQ(Parse("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n"),
            State::kBodyTooLarge);
  EXPECT_EQ(Parse("GET / HTTP/1.1\r\nA: " + std::string(300, 'x') + "\r\n\r\n"),
            State::kHeaderTooLarge);
  EXPECT_EQ(Parse("GET /" + std::string(300, 'x')), State::kHeaderTooLarge);
  EXPECT_EQ(Parse("GET / HTTP/2.0\r\n\r\n"), State::kBadRequest);
  EXPECT_EQ(Parse("GET /\r\n\r\n"), State::kBadRequest);
  EXPECT_EQ(Parse("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), State::kBadRequest);
  EXPECT_EQ(Parse("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            State::kBadRequest);
  EXPECT_EQ(Parse(std::string("GET / HTTP/1.1\r\nA: \0\r\n\r\n", 24)), State::kBadRequest);
}

TEST(RequestParser, TheHeadersLimitIsExactHoweverItComes) {
  const std::string body = "Content-Length: 2\r\n\r\n{}";
  const std::string start = "POST /v1/completions HTTP/1.1\r\nA: ";
  for (const size_t header_bytes : {199, 200, 201}) {
    const size_t rest = header_bytes - start.size() - (body.size() - 2) - 2;
    const std::string bytes = start + std::string(rest, 'x') + "\r\n" + body;
    const State wanted = header_bytes <= 200 ? State::kDone : State::kHeaderTooLarge;
    for (const size_t piece : {size_t{1}, size_t{7}, start.size(), header_bytes, bytes.size()}) {
      RequestParser parser(200, 10);
      std::string buffer;
      State state = State::kHeader;
      for (size_t at = 0; at < bytes.size(); at += piece) {
        buffer += bytes.substr(at, piece);
        absl::string_view input = buffer;
        state = parser.Put(&input);
        buffer.erase(0, buffer.size() - input.size());
        if (state != State::kHeader && state != State::kBody) break;
      }
      EXPECT_EQ(state, wanted) << header_bytes << " in pieces of " << piece;
    }
  }
}

TEST(RequestParser, TheLimitHoldsForChunksAndTheTrailer) {
  const std::string head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string large(300, 'x'), small(100, 'x');
  EXPECT_EQ(Parse(head + "2;a=" + large), State::kHeaderTooLarge);
  EXPECT_EQ(Parse(head + "2\r\n{}\r\n0\r\nA: " + large), State::kHeaderTooLarge) << "no end";
  EXPECT_EQ(Parse(head + "2\r\n{}\r\n0\r\nA: " + large + "\r\n\r\n"), State::kHeaderTooLarge);
  EXPECT_EQ(Parse(head + "2\r\n{}\r\n0\r\nA: " + small + "\r\n\r\n"), State::kDone);
  // Each chunk has it anew.
  std::string chunks;
  for (int i = 0; i < 5; ++i) chunks += "1;a=" + small + "\r\nx\r\n";
  EXPECT_EQ(Parse(head + chunks + "0\r\n\r\n"), State::kDone);
}

TEST(RequestParser, Versions) {
  const auto parse = [](const std::string& bytes) {
    RequestParser parser(8192, 100);
    absl::string_view input = bytes;
    EXPECT_EQ(parser.Put(&input), State::kDone);
    return parser.Release();
  };
  EXPECT_FALSE(parse("GET / HTTP/1.0\r\n\r\n").keep_alive);
  EXPECT_FALSE(parse("GET / HTTP/1.0\r\n\r\n").chunked_ok);
  EXPECT_TRUE(parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep_alive);
  EXPECT_FALSE(parse("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").keep_alive);
}

TEST(Router, Routes) {
  EXPECT_EQ(FindRoute("POST", "/v1/completions").endpoint, Endpoint::kCompletions);
  EXPECT_EQ(FindRoute("GET", "/v1/completions").endpoint, Endpoint::kWrongMethod);
  EXPECT_EQ(FindRoute("GE", "/health").endpoint, Endpoint::kWrongMethod);
  EXPECT_EQ(FindRoute("GET, HEAD", "/health").endpoint, Endpoint::kWrongMethod);
  EXPECT_EQ(FindRoute("", "/health").endpoint, Endpoint::kWrongMethod);
  EXPECT_EQ(FindRoute("HEAD", "/health").endpoint, Endpoint::kReady);
  EXPECT_EQ(FindRoute("POST", "/ping").endpoint, Endpoint::kReady);
  EXPECT_EQ(FindRoute("GET", "/v1/models/").endpoint, Endpoint::kNotFound);
  EXPECT_EQ(FindRoute("GET", "/v1/models/org/name").tail, "org/name");
  EXPECT_EQ(FindRoute("GET", "/health/").endpoint, Endpoint::kNotFound);
  EXPECT_TRUE(FindRoute("GET", "/metrics").is_public);
  EXPECT_FALSE(FindRoute("GET", "/v1/models").is_public);
  EXPECT_EQ(FindRoute("GET", "/secret").path, "other") << "no series a client can make up";
}

}  // namespace
}  // namespace tidal
