// What stands around the answers: ids, CORS, paths behind a proxy, and when the head of a stream
// goes out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "server/gateway/server_channel.h"
#include "tests/server/gateway/gateway_fixture.h"

namespace tidal {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kOrigin[] = "Origin: https://app.example.com\r\n";

class GatewayHeadersTest : public GatewayFixture {
 protected:
  // A request is counted once its reply is out, which its client may have before.
  bool IsCounted(const std::string& metric) const {
    return Eventually(
        [&] { return absl::StrContains(Fetch(port(), GetRequest("/metrics")).body, metric); });
  }
  std::string Preflight(const std::string& headers) const {
    return Fetch(port(), "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: t\r\n" + headers + "\r\n")
        .head;
  }
  // Each kind of reply, and its status.
  std::vector<std::pair<std::string, int>> Requests(const std::string& headers) const {
    const std::string key = "Authorization: Bearer k\r\n";
    return {
        {PostRequest("/v1/completions", kPrompt, key + headers), 200},
        {PostRequest("/v1/completions", kStream, key + headers), 200},
        {PostRequest("/v1/completions", "{", key + headers), 400},
        {PostRequest("/v1/completions", kPrompt, headers), 401},
        {PostRequest("/v1/completions", std::string(9000, ' '), headers), 413},
        {"POST /v1/completions HTTP/1.1\r\nHost: t\r\n" + headers + "Content-Length: 9\r\n\r\n",
         408},
        {GetRequest("/v1/completions", key + headers), 405},
        {GetRequest("/nothing", key + headers), 404},
        {GetRequest("/", key + headers), 404},
        {GetRequest("/v1/models", key + headers), 200},
        {GetRequest("/v1/models/org%2", key + headers), 400},
        {GetRequest("/health", headers), 200},
        {GetRequest("/health/live", headers), 200},
        {GetRequest("/health/started", headers), 200},
        {GetRequest("/load", headers), 200},
        {GetRequest("/metrics", headers), 200},
        {GetRequest("/version", headers), 200},
    };
  }
  void StartGuardedGateway() {
    options_.api_keys = *ApiKeys::Load({"k"}, "");
    options_.max_body_bytes = 1000;
    options_.limits.http_body_timeout = absl::Milliseconds(200);
    StartGateway();
  }
};

TEST_F(GatewayHeadersTest, EveryReplyHasARequestId) {
  StartGuardedGateway();
  for (const auto& [request, status] : Requests("X-Request-Id: mine\r\n")) {
    const HttpReply reply = Fetch(port(), request);
    EXPECT_EQ(reply.status, status) << request;
    EXPECT_THAT(reply.head, HasSubstr("\r\nX-Request-Id: mine\r\n")) << request;
    EXPECT_THAT(reply.head, Not(HasSubstr("Access-Control"))) << "CORS is off";
  }
  // Where the client's cannot be known or used, one is made.
  for (const std::string& request :
       {std::string("NONSENSE\r\n\r\n"), GetRequest("/health"),
        GetRequest("/health", "X-Request-Id: a b\r\n"),
        GetRequest("/health", "A: " + std::string(20'000, 'x') + "\r\n")}) {
    EXPECT_THAT(Fetch(port(), request).head, HasSubstr("\r\nX-Request-Id: ")) << request;
  }
}

TEST_F(GatewayHeadersTest, AllowedOriginsMayReadEveryReply) {
  options_.allowed_origins = {"http://localhost:3000", "https://app.example.com"};
  StartGuardedGateway();
  for (const auto& [request, status] : Requests(kOrigin)) {
    const HttpReply reply = Fetch(port(), request);
    EXPECT_EQ(reply.status, status) << request;
    EXPECT_THAT(reply.head,
                AllOf(HasSubstr("\r\nAccess-Control-Allow-Origin: https://app.example.com\r\n"),
                      HasSubstr("\r\nVary: Origin\r\n")))
        << request;
  }
  for (const char* other : {"", "Origin: https://evil.example.com\r\n", "Origin: null\r\n"}) {
    const std::string head = Fetch(port(), GetRequest("/health", other)).head;
    EXPECT_THAT(head, AllOf(Not(HasSubstr("Access-Control")), HasSubstr("\r\nVary: Origin\r\n")));
  }
}

TEST_F(GatewayHeadersTest, PreflightsNeedNoKey) {
  const std::string ask = absl::StrCat(kOrigin, "Access-Control-Request-Method: POST\r\n",
                                       "Access-Control-Request-Headers: authorization,x-a\r\n");
  options_.allowed_origins = {"https://app.example.com"};
  StartGuardedGateway();
  EXPECT_THAT(Preflight(ask),
              AllOf(HasSubstr("HTTP/1.1 200"), HasSubstr("X-Request-Id: "),
                    HasSubstr("Access-Control-Allow-Origin: https://app.example.com\r\n"),
                    HasSubstr("Access-Control-Allow-Methods: GET, HEAD, OPTIONS, POST\r\n"),
                    HasSubstr("Access-Control-Allow-Headers: authorization,x-a\r\n")));
  EXPECT_THAT(Preflight("Origin: https://b.example.com\r\nAccess-Control-Request-Method: POST\r\n"),
              AllOf(HasSubstr("HTTP/1.1 401"), Not(HasSubstr("Access-Control"))));
  EXPECT_THAT(Preflight(kOrigin), HasSubstr("HTTP/1.1 401")) << "no preflight";
  EXPECT_EQ(fake_.calls, 0);
  options_.allowed_origins = {"*"};
  gateway_.reset();
  StartGateway();
  EXPECT_THAT(Preflight(ask), HasSubstr("Access-Control-Allow-Origin: *\r\n"));
  EXPECT_THAT(Fetch(port(), GetRequest("/health", kOrigin)).head,
              HasSubstr("Access-Control-Allow-Origin: *\r\n"));
  options_.allowed_origins = {};
  options_.api_keys = nullptr;
  gateway_.reset();
  StartGateway();
  EXPECT_THAT(Preflight(ask), AllOf(HasSubstr("HTTP/1.1 405"), Not(HasSubstr("Access-Control"))));
}

TEST_F(GatewayHeadersTest, ModelNamesWithEscapesAndWithout) {
  StartGateway();
  for (const char* path : {"/v1/models/org/alias", "/v1/models/org%2Falias",
                           "/v1/models/org%2falias", "/v1/models/%6Frg%2Falias"}) {
    const HttpReply reply = Fetch(port(), GetRequest(path));
    EXPECT_EQ(reply.status, 200) << path;
    EXPECT_EQ(json::parse(reply.body)["id"], "org/alias");
  }
  EXPECT_EQ(Fetch(port(), GetRequest("/v1/models/org%252Falias")).status, 404);
  const HttpReply broken = Fetch(port(), GetRequest("/v1/models/org%2"));
  EXPECT_EQ(broken.status, 400);
  EXPECT_EQ(json::parse(broken.body)["error"]["param"], "path");
}

TEST_F(GatewayHeadersTest, TheRootPathIsTakenOff) {
  options_.root_path = "/llm";
  options_.api_keys = *ApiKeys::Load({"k"}, "");
  StartGateway();
  EXPECT_EQ(Fetch(port(), GetRequest("/llm/health")).status, 200);
  EXPECT_EQ(Fetch(port(), GetRequest("/health")).status, 200);
  EXPECT_EQ(Fetch(port(), GetRequest("/llm/v1/models")).status, 401);
  const std::string key = "Authorization: Bearer k\r\n";
  EXPECT_EQ(Fetch(port(), GetRequest("/llm/v1/models/org%2Falias", key)).status, 200);
  EXPECT_EQ(Fetch(port(), GetRequest("/llmv1/models", key)).status, 404);
  EXPECT_TRUE(IsCounted(R"(tidal:http_requests_total{handler="/health",code="200"} 2)"));
}

TEST_F(GatewayHeadersTest, LoadCountsTheGenerationsThatRun) {
  fake_.set_script([&](auto& context, auto& request, auto& writer) {
    while (!go_ && !context.IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return FakeInference::Hello(context, request, writer);
  });
  StartGateway();
  const auto load = [this] {
    return json::parse(Fetch(port(), GetRequest("/load")).body)["server_load"].get<int>();
  };
  EXPECT_EQ(load(), 0);
  HttpClient one(port()), two(port()), three(port());
  one.Send(PostRequest("/v1/completions", kPrompt));
  two.Send(PostRequest("/v1/responses", R"({"input": "Hi", "stream": true})"));
  three.Send(PostRequest("/v1/completions", kPrompt));
  EXPECT_TRUE(Eventually([&] { return load() == 3; }));
  three.Reset();
  EXPECT_TRUE(Eventually([&] { return load() == 2; }));
  go_ = true;
  EXPECT_EQ(one.ReadReply().status, 200);
  EXPECT_EQ(two.ReadReply().status, 200);
  EXPECT_TRUE(Eventually([&] { return load() == 0; }));
  one.Send("NONSENSE\r\n\r\n");
  EXPECT_EQ(one.ReadReply().status, 400);
  EXPECT_EQ(load(), 0);
  EXPECT_TRUE(IsCounted(R"(tidal:http_requests_total{handler="other",code="400"} 1)"))
      << "not of the route before it";
}

TEST_F(GatewayHeadersTest, TokenizerInfoIsTheServersToTell) {
  StartGateway();
  EXPECT_EQ(Fetch(port(), GetRequest("/tokenizer_info")).status, 404);
  fake_.set_tokenizer_info(R"({"tokenizer_class":"A"})");
  const HttpReply reply = Fetch(port(), GetRequest("/tokenizer_info"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, R"({"tokenizer_class":"A"})");
}

TEST_F(GatewayHeadersTest, BytesAfterTheJsonAreRefused) {
  StartGateway();
  for (const std::string& rest :
       {std::string(1, '\0'), std::string("\0{}", 3), std::string("{}"), std::string("x")}) {
    const HttpReply reply = Fetch(port(), PostRequest("/v1/completions", kPrompt + rest));
    EXPECT_EQ(reply.status, 400);
    EXPECT_THAT(json::parse(reply.body)["error"]["message"].get<std::string>(),
                HasSubstr("body: must be valid JSON"));
  }
  EXPECT_EQ(Fetch(port(), PostRequest("/v1/completions", absl::StrCat(kPrompt, " \r\n"))).status,
            200);
  EXPECT_EQ(fake_.calls, 1);
}

TEST_F(GatewayHeadersTest, TheHeadOfAStreamDoesNotWaitForItsFirstToken) {
  fake_.set_script([&](auto& context, auto& request, auto& writer) {
    while (!go_ && !context.IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return FakeInference::Hello(context, request, writer);
  });
  StartGateway();
  HttpClient client(port());
  client.Send(PostRequest("/v1/completions", kStream));
  const std::string head = client.ReadUntil("\r\n\r\n");
  EXPECT_THAT(head, AllOf(HasSubstr("HTTP/1.1 200"), HasSubstr("text/event-stream")));
  EXPECT_THAT(head, Not(HasSubstr("data:")));
  go_ = true;
  EXPECT_THAT(client.ReadUntil("[DONE]"), AllOf(HasSubstr("Hello"), HasSubstr(" world")));
}

TEST_F(GatewayHeadersTest, AfterItsHeadAStreamIsRefusedByAnEvent) {
  fake_.set_script([&](auto& context, auto&, auto&) {
    while (!go_ && !context.IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "waited too long");
  });
  StartGateway();
  HttpClient client(port());
  client.Send(PostRequest("/v1/completions", kStream));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), HasSubstr("HTTP/1.1 200"));
  go_ = true;
  EXPECT_THAT(
      client.ReadUntil("\n\n"),
      HasSubstr(R"(data: {"error":{"message":"waited too long","type":"rate_limit_error")"));
  EXPECT_TRUE(client.ReadUntil("never").find("[DONE]") == std::string::npos);
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(GatewayHeadersTest, AfterItsHeadAStreamMayStillComeFromAnotherServer) {
  FakeInference other;
  std::atomic<int> calls = 0;
  for (FakeInference* server : {&fake_, &other}) {
    server->set_script([&calls](auto& context, auto& request, auto& writer) {
      if (calls++ > 0) return FakeInference::Hello(context, request, writer);
      absl::SleepFor(absl::Milliseconds(600));
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost");
    });
  }
  ServerChannelOptions servers;
  servers.target = absl::StrCat("ipv4:", fake_.address(), ",", other.address());
  auto gateway = Gateway::Start(options_, *ServerChannel::Open(servers));
  ASSERT_TRUE(gateway.ok()) << gateway.status();
  HttpClient client((*gateway)->port());
  client.Send(PostRequest("/v1/completions", kStream));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"),
              AllOf(HasSubstr("HTTP/1.1 200"), Not(HasSubstr("data"))));
  EXPECT_THAT(client.ReadUntil("[DONE]"), HasSubstr(" world"));
  EXPECT_EQ(calls, 2);
}

TEST_F(GatewayHeadersTest, AReplyInOnePieceWaitsForItsStatus) {
  fake_.set_script([&](auto&, auto&, auto&) {
    absl::SleepFor(absl::Milliseconds(600));
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "waited too long");
  });
  StartGateway();
  EXPECT_EQ(Fetch(port(), PostRequest("/v1/completions", kPrompt)).status, 429);
}

TEST_F(GatewayHeadersTest, ClientsThatLeaveBeforeTheHeadAreForgotten) {
  fake_.set_script([&](grpc::ServerContext& context, auto&, auto&) {
    while (!context.IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::CANCELLED;
  });
  StartGateway();
  for (int i = 0; i < 20; ++i) {
    HttpClient client(port());
    client.Send(PostRequest("/v1/completions", kStream));
    EXPECT_TRUE(Eventually([&] { return fake_.calls == i + 1; }));
    i % 2 == 0 ? client.Reset() : client.Close();
  }
  EXPECT_TRUE(Eventually([&] { return fake_.cancelled == 20; }));
  gateway_->Stop(absl::Seconds(10));
}

TEST_F(GatewayHeadersTest, RepliesTellOfTheLoadWhereTheyAreAskedTo) {
  options_.render_metrics = [] { return std::string("vllm:num_requests_waiting 2\n"); };
  StartGateway();
  const std::string asks = "endpoint-load-metrics-format: TEXT\r\n";
  for (const std::string& body : {std::string(kPrompt), std::string(kStream)}) {
    EXPECT_THAT(Fetch(port(), PostRequest("/v1/completions", body, asks)).head,
                HasSubstr("endpoint-load-metrics: TEXT named_metrics.num_requests_waiting=2\r\n"));
    EXPECT_THAT(Fetch(port(), PostRequest("/v1/completions", body)).head,
                Not(HasSubstr("endpoint-load-metrics")));
  }
}

}  // namespace
}  // namespace tidal
