// The Responses API through the gateway: what of it is HTTP, and errors wherever they come.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "tests/server/gateway/gateway_fixture.h"

namespace tidal {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kPlain[] = R"({"input": "Hi", "tools": [{"type": "web_search"}]})";
constexpr char kStreamed[] = R"({"input": "Hi", "stream": true})";

using GatewayResponsesTest = GatewayFixture;

TEST_F(GatewayResponsesTest, Answers) {
  StartGateway();
  const HttpReply reply =
      Fetch(port(), PostRequest("/v1/responses", kPlain, "X-Request-Id: abc\r\n"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.head, AllOf(HasSubstr("X-Request-Id: abc\r\n"),
                                HasSubstr("X-Tidal-Left-Out: tools[0] (web_search)\r\n")));
  const json body = json::parse(reply.body);
  EXPECT_EQ(body["id"], "resp_abc");
  EXPECT_EQ(body["model"], "fake");
  EXPECT_EQ(body["output"][0]["id"], "msg_abc_0");
  EXPECT_EQ(body["output"][0]["content"][0]["text"], "Hello world");
  EXPECT_EQ(body["usage"]["total_tokens"], 5);
  EXPECT_EQ(fake_.last_request().chat().messages(0).content(), "Hi");
}

TEST_F(GatewayResponsesTest, Streams) {
  StartGateway();
  const HttpReply reply = Fetch(port(), PostRequest("/v1/responses", kStreamed));
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.body,
              AllOf(HasSubstr("event: response.created\ndata: {"), HasSubstr(R"("delta":"Hello")"),
                    HasSubstr("event: response.completed\ndata: {"), Not(HasSubstr("[DONE]"))));
}

TEST_F(GatewayResponsesTest, AnErrorBeforeTheStreamHasItsStatus) {
  fake_.set_script([](auto&, auto&, auto&) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                        "prompt: must have at most 9 tokens, got 10");
  });
  StartGateway();
  for (const char* body : {kPlain, kStreamed}) {
    const HttpReply reply = Fetch(port(), PostRequest("/v1/responses", body));
    EXPECT_EQ(reply.status, 400);
    EXPECT_EQ(json::parse(reply.body), json::parse(R"({"error": {
        "message": "input: must have at most 9 tokens, got 10", "type": "invalid_request_error",
        "param": "input", "code": "context_length_exceeded"}})"));
  }
}

TEST_F(GatewayResponsesTest, AnErrorInTheStreamFailsTheResponse) {
  fake_.set_script([](auto&, auto&, FakeInference::Writer& writer) {
    writer.Write(FakeInference::Prompt(1));
    writer.Write(FakeInference::Delta(0, "Half"));
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "shutting down");
  });
  StartGateway();
  HttpClient client(port());
  client.Send(PostRequest("/v1/responses", kStreamed));
  const std::string body = client.ReadReply().body;
  const std::string last = body.substr(body.rfind("event: "));
  EXPECT_THAT(body, HasSubstr(R"("delta":"Half")"));
  EXPECT_THAT(last, AllOf(HasSubstr("event: response.failed\n"),
                          HasSubstr("the answer was cut short: shutting down"),
                          HasSubstr(R"("code":"server_error")")));
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(GatewayResponsesTest, AfterItsHeadAStreamIsRefusedByAFailedResponse) {
  std::atomic<bool> go = false;
  fake_.set_script([&](auto& context, auto&, auto&) {
    while (!go && !context.IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "waited too long");
  });
  StartGateway();
  HttpClient client(port());
  client.Send(PostRequest("/v1/responses", kStreamed));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), HasSubstr("HTTP/1.1 200"));
  go = true;
  EXPECT_THAT(client.ReadUntil("try again in"),
              AllOf(HasSubstr("event: response.created\n"), HasSubstr("event: response.failed\n"),
                    HasSubstr(R"("code":"rate_limit_exceeded")")));
}

TEST_F(GatewayResponsesTest, NothingIsStored) {
  StartGateway();
  for (const std::string& request :
       {GetRequest("/v1/responses/resp_1"), PostRequest("/v1/responses/resp_1/cancel", "{}"),
        GetRequest("/v1/responses/resp_1/input_items")}) {
    const HttpReply reply = Fetch(port(), request);
    EXPECT_EQ(reply.status, 404);
    EXPECT_THAT(reply.body, HasSubstr("this server stores no responses"));
  }
}

}  // namespace
}  // namespace tidal
