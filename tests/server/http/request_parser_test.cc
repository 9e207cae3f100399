#include "server/http/request_parser.h"

#include <gtest/gtest.h>

#include <string>

namespace tidal {
namespace {

using State = RequestParser::State;

constexpr char kPost[] =
    "POST /v1/completions?x=1 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\nx-request-id: r\r\n"
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

TEST(RequestParser, KeysOfAnthropicsClients) {
  const auto authorization = [](const std::string& headers) {
    RequestParser parser(8192, 100);
    const std::string bytes = "GET / HTTP/1.1\r\nHost: h\r\n" + headers + "\r\n";
    absl::string_view input = bytes;
    if (parser.Put(&input) != State::kDone) return std::string("refused");
    return parser.Release().authorization;
  };
  EXPECT_EQ(authorization("X-API-Key: k\r\n"), "Bearer k");
  EXPECT_EQ(authorization("x-api-key: k\r\nauthorization: Basic b\r\n"), "Basic b");
  EXPECT_EQ(authorization("x-api-key: k\r\nx-api-key: k\r\n"), "refused");
  EXPECT_EQ(authorization(""), "");
}

TEST(RequestParser, ThePathIsKnownBeforeTheBody) {
  RequestParser parser(8192, 100);
  EXPECT_EQ(parser.path(), "");
  absl::string_view input =
      "POST /v1/messages?beta=true HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n";
  ASSERT_EQ(parser.Put(&input), State::kBody);
  EXPECT_EQ(parser.path(), "/v1/messages");
}

TEST(RequestParser, TraceHeaders) {
  RequestParser parser(8192, 100);
  absl::string_view input =
      "GET / HTTP/1.1\r\nHost: h\r\nTraceParent:  00-a \r\nTRACESTATE: a=1\r\ntracestate: "
      "b=2\r\n\r\n";
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
  EXPECT_EQ(Parse("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345"), State::kBody);
  EXPECT_EQ(Parse("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n"),
            State::kBodyTooLarge);
  EXPECT_EQ(
      Parse("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n"),
      State::kBodyTooLarge);
  EXPECT_EQ(Parse("GET / HTTP/1.1\r\nA: " + std::string(300, 'x') + "\r\n\r\n"),
            State::kHeaderTooLarge);
  EXPECT_EQ(Parse("GET /" + std::string(300, 'x')), State::kHeaderTooLarge);
  EXPECT_EQ(Parse("GET / HTTP/2.0\r\n\r\n"), State::kBadRequest);
  EXPECT_EQ(Parse("GET /\r\n\r\n"), State::kBadRequest);
  EXPECT_EQ(Parse("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), State::kBadRequest);
  EXPECT_EQ(Parse("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            State::kBadRequest);
  EXPECT_EQ(Parse(std::string("GET / HTTP/1.1\r\nHost: h\r\nA: \0\r\n\r\n", 33)),
            State::kBadRequest);
}

TEST(RequestParser, TheHeadersLimitIsExactHoweverItComes) {
  const std::string body = "Content-Length: 2\r\n\r\n{}";
  const std::string start = "POST /v1/completions HTTP/1.1\r\nHost: h\r\nA: ";
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
  const std::string head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
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

// What others on the way may read as two requests, or as somebody else's.
TEST(RequestParser, WhatMayBeReadInTwoWaysIsRefused) {
  const std::string start = "POST / HTTP/1.1\r\nHost: h\r\n", chunk = "2\r\n{}\r\n0\r\n\r\n";
  const auto fault = [](const std::string& bytes, size_t piece) {
    RequestParser parser(200, 10);
    std::string buffer;
    State state = State::kHeader;
    for (size_t at = 0; at < bytes.size() && (state == State::kHeader || state == State::kBody);
         at += piece) {
      buffer += bytes.substr(at, piece);
      absl::string_view input = buffer;
      state = parser.Put(&input);
      buffer.erase(0, buffer.size() - input.size());
    }
    return state == State::kBadRequest ? std::string(parser.fault())
           : state == State::kDone     ? "none"
                                       : "another state";
  };
  const std::string hosts = "it must have one Host header";
  const std::string keys = "it must have one Authorization header at most";
  const std::string folded = "its header lines must not be folded";
  const std::string encoding = "its Transfer-Encoding must be chunked";
  const std::pair<std::string, std::string> cases[] = {
      {"GET / HTTP/1.1\r\n\r\n", hosts},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", hosts},
      {"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", hosts},
      {"GET / HTTP/1.0\r\n\r\n", "none"},
      {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "none"},
      {start + "Authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n", keys},
      {start + "A: b\r\n c\r\n\r\n", folded},
      {start + "A: b\r\n\tc: d\r\n\r\n", folded},
      {start + "A:\r\n b\r\n\r\n", folded},
      {start + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n", folded},
      {start + "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk, encoding},
      {start + "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk, encoding},
      {start + "Transfer-Encoding: gzip\r\n\r\n" + chunk, encoding},
      {start + "Transfer-Encoding: chunked, gzip\r\n\r\n" + chunk, encoding},
      {start + "Transfer-Encoding: identity\r\n\r\n", encoding},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk, encoding},
      {start + "Transfer-Encoding: CHUNKED\r\n\r\n" + chunk, "none"},
      {start + "Content-Length: 4\r\n\r\n\n a\n", "none"},
      {start + "Transfer-Encoding: chunked\r\n\r\n4\r\n\n a\n\r\n0\r\n\r\n", "none"},
  };
  for (const auto& [bytes, wanted] : cases) {
    for (const size_t piece : {size_t{1}, size_t{5}, bytes.size()}) {
      EXPECT_EQ(fault(bytes, piece), wanted) << bytes << " in pieces of " << piece;
    }
  }
}

TEST(RequestParser, HeadersAreKnownBeforeTheBody) {
  RequestParser parser(200, 10);
  EXPECT_EQ(parser.header("Origin"), "");
  absl::string_view input = "POST / HTTP/1.1\r\nHost: h\r\norigin: o\r\nContent-Length: 99\r\n\r\n";
  EXPECT_EQ(parser.Put(&input), State::kBodyTooLarge);
  EXPECT_EQ(parser.header("Origin"), "o");
  EXPECT_EQ(parser.header("X-Request-Id"), "");
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
  EXPECT_FALSE(parse("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").keep_alive);
}

}  // namespace
}  // namespace tidal
