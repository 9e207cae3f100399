// HTTP/1.1 itself, as clients that are slow, hasty, large or broken speak it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "tests/server/gateway/gateway_fixture.h"

namespace tidal {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

using HttpProtocolTest = GatewayFixture;

TEST_F(HttpProtocolTest, KeepsConnections) {
  StartGateway();
  HttpClient client(port());
  for (int i = 0; i < 3; ++i) {
    client.Send(PostRequest("/v1/completions", R"({"prompt": "Hi"})"));
    EXPECT_EQ(client.ReadReply().status, 200);
    client.Send(PostRequest("/v1/completions", R"({"prompt": "Hi", "stream": true})"));
    EXPECT_TRUE(client.ReadReply().complete);
    client.Send(PostRequest("/v1/completions", "{}"));
    EXPECT_EQ(client.ReadReply().status, 400);
  }
  client.Send(GetRequest("/health", "Connection: close\r\n"));
  EXPECT_EQ(client.ReadReply().status, 200);
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpProtocolTest, PipelinedRequestsAreAnsweredInOrder) {
  StartGateway();
  HttpClient client(port());
  std::string requests;
  for (int i = 0; i < 20; ++i) {
    requests += i % 2 == 0 ? PostRequest("/v1/completions", R"({"prompt": "Hi", "stream": true})",
                                         absl::StrCat("X-Request-Id: ", i, "\r\n"))
                           : GetRequest("/version", absl::StrCat("X-Request-Id: ", i, "\r\n"));
  }
  client.Send(requests);
  for (int i = 0; i < 20; ++i) {
    const HttpReply reply = client.ReadReply();
    EXPECT_EQ(reply.status, 200);
    EXPECT_THAT(reply.head, HasSubstr(absl::StrCat("X-Request-Id: ", i, "\r\n")));
  }
}

TEST_F(HttpProtocolTest, RequestsInSmallPieces) {
  StartGateway();
  HttpClient client(port());
  for (const char byte : PostRequest("/v1/completions", R"({"prompt": "Hi"})")) {
    ASSERT_TRUE(client.Send(std::string(1, byte)));
  }
  EXPECT_EQ(client.ReadReply().status, 200);
}

TEST_F(HttpProtocolTest, ChunkedRequestBody) {
  StartGateway();
  const HttpReply reply = Fetch(port(),
                                "POST /v1/completions HTTP/1.1\r\nHost: test\r\n"
                                "Transfer-Encoding: chunked\r\n\r\n"
                                "8\r\n{\"prompt\r\n9\r\n\": \"abc\"}\r\n0\r\n\r\n");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(fake_.last_request().text(), "abc");
}

TEST_F(HttpProtocolTest, ContinueIsSentToThoseWhoWait) {
  StartGateway();
  HttpClient client(port());
  const std::string body = R"({"prompt": "Hi"})";
  client.Send(absl::StrCat("POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Length: ",
                           body.size(), "\r\nExpect: 100-continue\r\n\r\n"));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), HasSubstr("100 Continue"));
  client.Send(body);
  EXPECT_EQ(client.ReadReply().status, 200);
}

TEST_F(HttpProtocolTest, Http10StreamsToTheEndOfTheConnection) {
  StartGateway();
  const std::string body = R"({"prompt": "Hi", "stream": true})";
  HttpClient client(port());
  client.Send(absl::StrCat("POST /v1/completions HTTP/1.0\r\nContent-Length: ", body.size(),
                           "\r\n\r\n", body));
  const HttpReply reply = client.ReadReply();
  EXPECT_THAT(reply.body, HasSubstr("data: [DONE]\n\n"));
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(HttpProtocolTest, BodiesOverTheLimit) {
  options_.max_body_bytes = 100'000;
  StartGateway();
  const std::string at_limit = absl::StrCat(R"({"prompt": ")", std::string(99'985, 'x'), "\"}");
  ASSERT_EQ(at_limit.size(), 100'000u - 1);
  EXPECT_EQ(Fetch(port(), PostRequest("/v1/completions", at_limit + " ")).status, 200);
  HttpClient client(port());
  const std::string huge(20'000'000, 'x');
  client.Send(PostRequest("/v1/completions", huge));
  const HttpReply reply = client.ReadReply();
  EXPECT_EQ(reply.status, 413);
  EXPECT_THAT(json::parse(reply.body)["error"]["message"].get<std::string>(), HasSubstr("100000"));
  // Without a length in advance, too.
  HttpClient chunked(port());
  chunked.Send("POST /v1/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = absl::StrCat("4000\r\n", std::string(0x4000, ' '), "\r\n");
  for (int i = 0; i < 10; ++i) chunked.Send(chunk);
  EXPECT_EQ(chunked.ReadReply().status, 413);
}

TEST_F(HttpProtocolTest, MemoryForRequestsIsBounded) {
  options_.limits.max_held_request_bytes = 1'000'000;
  StartGateway();
  const std::string head =
      "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 700000\r\n\r\n";
  HttpClient first(port());
  const std::string body = absl::StrCat(R"({"prompt": ")", std::string(699'986, 'x'), "\"}");
  ASSERT_TRUE(first.Send(head + body.substr(0, 600'000)));
  while (Fetch(port(), GetRequest("/metrics")).body.find("bytes_held 600") == std::string::npos) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Fetch(port(), head + body).status, 503);
    EXPECT_THAT(Fetch(port(), GetRequest("/metrics")).body, HasSubstr("bytes_held 600"))
        << "nothing of a request that was refused is kept";
  }
  EXPECT_EQ(Fetch(port(), PostRequest("/v1/completions", R"({"prompt": "Hi"})")).status, 200);
  first.Send(body.substr(600'000));
  EXPECT_EQ(first.ReadReply().status, 200);
  for (int i = 0; i < 500; ++i) {
    if (Fetch(port(), head + body).status == 200) return;
    absl::SleepFor(absl::Milliseconds(10));
  }
  FAIL() << "requests that are answered must free their memory";
}

TEST_F(HttpProtocolTest, BrokenRequests) {
  StartGateway();
  EXPECT_EQ(Fetch(port(), "NONSENSE\r\n\r\n").status, 400);
  EXPECT_EQ(
      Fetch(port(), "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: x\r\n\r\n").status,
      400);
  EXPECT_EQ(Fetch(port(), GetRequest("/health", "A: " + std::string(20'000, 'x') + "\r\n")).status,
            431);
  for (const char* body : {"", "{", "[]", "{\"prompt\": \"\xff\xfe\"}", "{\"prompt\": \"\\ud800\"}",
                           "{\"prompt\": \"a\", \"temperature\": NaN}"}) {
    const HttpReply reply = Fetch(port(), PostRequest("/v1/completions", body));
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_EQ(json::parse(reply.body)["error"]["type"], "invalid_request_error") << body;
  }
  EXPECT_EQ(fake_.calls, 0);
}

TEST_F(HttpProtocolTest, SlowClientsAreCut) {
  options_.limits.http_idle_timeout = absl::Milliseconds(100);
  options_.limits.http_header_timeout = absl::Milliseconds(100);
  options_.limits.http_body_timeout = absl::Milliseconds(100);
  StartGateway();
  HttpClient idle(port()), slow_header(port()), slow_body(port());
  slow_header.Send("POST /v1/comp");
  slow_body.Send("POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{");
  EXPECT_TRUE(idle.AtEnd());
  EXPECT_EQ(slow_header.ReadReply().status, 408);
  EXPECT_EQ(slow_body.ReadReply().status, 408);
  EXPECT_TRUE(slow_header.AtEnd());
}

TEST_F(HttpProtocolTest, ConnectionsOverTheLimit) {
  options_.limits.max_connections = 2;
  StartGateway();
  auto one = std::make_unique<HttpClient>(port());
  HttpClient two(port());
  for (HttpClient* client : {one.get(), &two}) {
    client->Send(GetRequest("/health/live"));
    EXPECT_EQ(client->ReadReply().status, 200);
  }
  EXPECT_EQ(Fetch(port(), GetRequest("/health/live")).status, 503);
  one.reset();
  for (int i = 0; i < 500; ++i) {
    if (Fetch(port(), GetRequest("/health/live")).status == 200) return;
    absl::SleepFor(absl::Milliseconds(10));
  }
  FAIL() << "a closed connection must make room";
}

}  // namespace
}  // namespace tidal
