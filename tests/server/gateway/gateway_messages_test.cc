// Anthropic's Messages API over HTTP: its paths, its errors wherever they come from, its keys.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/server/gateway/gateway_fixture.h"

namespace tidal {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kMessages[] = "/v1/messages";
constexpr char kCount[] = "/v1/messages/count_tokens";
constexpr char kHello[] =
    R"({"model": "m", "max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}]})";
constexpr char kHelloStream[] =
    R"({"model": "m", "max_tokens": 2, "stream": true, "messages": [{"role": "user", "content": "Hi"}]})";

using GatewayMessagesTest = GatewayFixture;

// Checks that it is one in Anthropic's form, and gives its type and message.
std::pair<std::string, std::string> ErrorOf(const HttpReply& reply) {
  const json body = json::parse(reply.body, nullptr, false);
  EXPECT_EQ(body.value("type", ""), "error") << reply.body;
  if (body.value("type", "") != "error") return {};
  EXPECT_THAT(reply.head, HasSubstr(absl::StrCat(
                              "\r\nrequest-id: ", body.value("request_id", "none"), "\r\n")));
  return {body["error"]["type"], body["error"]["message"]};
}

std::string ErrorType(const HttpReply& reply) { return ErrorOf(reply).first; }

TEST_F(GatewayMessagesTest, AnswersAMessage) {
  StartGateway();
  for (const char* path : {"/v1/messages", "/v1/messages?beta=true"}) {
    const HttpReply reply = Fetch(port(), PostRequest(path, kHello,
                                                      "X-Request-Id: mine\r\n"
                                                      "anthropic-version: 2023-06-01\r\n"
                                                      "anthropic-beta: x-2026-01-01\r\n"));
    ASSERT_EQ(reply.status, 200) << reply.body;
    const json body = json::parse(reply.body);
    EXPECT_EQ(body["id"], "msg_mine");
    EXPECT_EQ(body["content"], json::parse(R"([{"type": "text", "text": "Hello world"}])"));
    EXPECT_EQ(body["stop_reason"], "end_turn");
    EXPECT_EQ(body["usage"]["input_tokens"], 3);
    EXPECT_THAT(reply.head, HasSubstr("\r\nX-Request-Id: mine\r\n"));
    EXPECT_THAT(reply.head, HasSubstr("\r\nrequest-id: mine\r\n"));
    EXPECT_THAT(reply.head, Not(HasSubstr("X-Tidal-Left-Out")));
  }
  EXPECT_EQ(fake_.last_request().request_id(), "mine");
  EXPECT_EQ(fake_.last_request().chat().messages_size(), 1);
  EXPECT_THAT(Fetch(port(), GetRequest("/metrics")).body,
              HasSubstr(R"(tidal:http_requests_total{handler="/v1/messages",code="200"} 2)"));
}

TEST_F(GatewayMessagesTest, StreamsAMessage) {
  StartGateway();
  std::string body = kHelloStream;
  body.insert(1, R"("tools": [{"type": "bash_20250124", "name": "bash"}], )");
  const HttpReply reply = Fetch(port(), PostRequest(kMessages, body, "X-Request-Id: mine\r\n"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.head, HasSubstr("Content-Type: text/event-stream"));
  EXPECT_THAT(reply.head, HasSubstr("\r\nX-Request-Id: mine\r\nrequest-id: mine\r\n"
                                    "X-Tidal-Left-Out: tools[0] (bash_20250124)\r\n"));
  EXPECT_THAT(reply.body, HasSubstr("event: message_start\ndata: {\"type\":\"message_start\","
                                    "\"message\":{\"id\":\"msg_mine\""));
  EXPECT_THAT(reply.body,
              HasSubstr("\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
  EXPECT_THAT(reply.body, Not(HasSubstr("[DONE]")));
}

TEST_F(GatewayMessagesTest, CountsTokens) {
  StartGateway();
  const HttpReply reply = Fetch(
      port(),
      PostRequest("/v1/messages/count_tokens?beta=true",
                  R"({"system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}]})"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, R"({"input_tokens":11})");
  EXPECT_THAT(reply.head, HasSubstr("\r\nrequest-id: "));
  const HttpReply mistake = Fetch(port(), PostRequest(kCount, "{}"));
  EXPECT_EQ(mistake.status, 400);
  EXPECT_EQ(ErrorOf(mistake), std::pair(std::string("invalid_request_error"),
                                        std::string("messages: must be an array of at least one "
                                                    "message")));
}

TEST_F(GatewayMessagesTest, ErrorsOfTheServiceHaveTheirTypes) {
  const std::vector<std::tuple<grpc::StatusCode, int, std::string>> cases = {
      {grpc::StatusCode::INVALID_ARGUMENT, 400, "invalid_request_error"},
      {grpc::StatusCode::UNAUTHENTICATED, 401, "authentication_error"},
      {grpc::StatusCode::PERMISSION_DENIED, 403, "permission_error"},
      {grpc::StatusCode::NOT_FOUND, 404, "not_found_error"},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, 429, "rate_limit_error"},
      {grpc::StatusCode::INTERNAL, 500, "api_error"},
      {grpc::StatusCode::UNAVAILABLE, 503, "overloaded_error"},
      {grpc::StatusCode::DEADLINE_EXCEEDED, 504, "timeout_error"}};
  std::atomic<int> code = 0;
  fake_.set_script([&](auto&, auto&, auto&) {
    return grpc::Status(static_cast<grpc::StatusCode>(code.load()), "stopping.stop[1]: x");
  });
  StartGateway();
  for (const auto& [grpc_code, http_status, type] : cases) {
    code = grpc_code;
    for (const char* body : {kHello, kHelloStream}) {
      const HttpReply reply = Fetch(port(), PostRequest(kMessages, body));
      EXPECT_EQ(reply.status, http_status);
      EXPECT_EQ(absl::StrContains(reply.head, "Retry-After"),
                http_status == 429 || http_status == 503);
      const auto [got, message] = ErrorOf(reply);
      EXPECT_EQ(got, type);
      if (http_status >= 500) continue;
      EXPECT_EQ(message, "stop_sequences[1]: x");
    }
  }
}

TEST_F(GatewayMessagesTest, AnErrorInAStreamIsAnEventOfItsKind) {
  fake_.set_script([](auto&, auto&, FakeInference::Writer& writer) {
    writer.Write(FakeInference::Prompt(1));
    writer.Write(FakeInference::Delta(0, "Half"));
    return grpc::Status(grpc::StatusCode::INTERNAL, "it broke");
  });
  StartGateway();
  const HttpReply reply =
      Fetch(port(), PostRequest(kMessages, kHelloStream, "X-Request-Id: mine\r\n"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.body, HasSubstr("\"text\":\"Half\""));
  EXPECT_THAT(reply.body,
              HasSubstr("\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":"
                        "\"api_error\",\"message\":\"it broke\"},"
                        "\"request_id\":\"mine\"}\n\n"));
  EXPECT_THAT(reply.body, Not(HasSubstr("message_stop")));
}

// What no parser of a body has seen, too.
TEST_F(GatewayMessagesTest, TheGatewaysOwnErrorsHaveTheFormOfTheirPath) {
  options_.max_body_bytes = 1000;
  options_.root_path = "/llm";
  StartGateway();
  EXPECT_EQ(ErrorType(Fetch(port(), GetRequest(kMessages))), "invalid_request_error");
  EXPECT_EQ(Fetch(port(), GetRequest(kMessages)).status, 405);
  EXPECT_EQ(ErrorType(Fetch(port(), PostRequest("/v1/messages/batches", "{}"))), "not_found_error");
  EXPECT_EQ(ErrorType(Fetch(port(), PostRequest(kMessages, "{"))), "invalid_request_error");
  const std::string nul("{\0}", 3);
  EXPECT_EQ(ErrorType(Fetch(port(), PostRequest(kMessages, nul))), "invalid_request_error");
  std::string form = PostRequest(kMessages, kHello);
  form.replace(form.find("application/json"), 16, "text/plain");
  EXPECT_EQ(Fetch(port(), form).status, 415);
  EXPECT_EQ(ErrorType(Fetch(port(), form)), "invalid_request_error");

  const std::string large(2000, ' ');
  for (const char* path :
       {"/v1/messages", "/llm/v1/messages/count_tokens?beta=true", "/v1/mess%61ges"}) {
    const HttpReply reply = Fetch(port(), PostRequest(path, large));
    EXPECT_EQ(reply.status, 413) << path;
    EXPECT_EQ(ErrorType(reply), "request_too_large") << path;
  }
  for (const char* path : {"/v1/completions", "/v1/messagesx", "/%", "/v1/models"}) {
    const HttpReply reply = Fetch(port(), PostRequest(path, large));
    EXPECT_EQ(reply.status, 413) << path;
    EXPECT_EQ(json::parse(reply.body)["error"]["code"], nullptr) << path;
    EXPECT_THAT(reply.head, Not(HasSubstr("\r\nrequest-id: "))) << path;
  }
}

TEST_F(GatewayMessagesTest, ADrainingGatewayIsOverloaded) {
  fake_.set_script([&](auto& context, auto& request, auto& writer) {
    while (!go_ && !context.IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return FakeInference::Hello(context, request, writer);
  });
  StartGateway();
  HttpClient running(port()), late(port());
  running.Send(PostRequest(kMessages, kHello));
  ASSERT_TRUE(Eventually([&] { return fake_.calls == 1; }));
  EXPECT_EQ(json::parse(Fetch(port(), GetRequest("/load")).body)["server_load"], 1);
  std::thread stop([&] { gateway_->Stop(absl::Seconds(10)); });
  EXPECT_TRUE(Eventually([&] { return Fetch(port(), GetRequest("/health/ready")).status == 503; }));
  late.Send(PostRequest(kMessages, kHello));
  const HttpReply refused = late.ReadReply();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(ErrorType(refused), "overloaded_error");
  go_ = true;
  EXPECT_EQ(running.ReadReply().status, 200);
  stop.join();
}

TEST_F(GatewayMessagesTest, TheKeyMayComeInItsOwnHeader) {
  options_.api_keys = *ApiKeys::Load({"one", "two"}, "");
  StartGateway();
  const auto fetch = [&](const std::string& path, const std::string& headers) {
    const bool post = absl::StrContains(path, kMessages);
    return Fetch(port(), post ? PostRequest(path, kHello, headers) : GetRequest(path, headers));
  };
  const HttpReply refused = fetch(kMessages, "");
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(ErrorType(refused), "authentication_error");
  for (const char* path : {kMessages, kCount, "/v1/models"}) {
    EXPECT_EQ(fetch(path, "x-api-key: two\r\n").status, 200) << path;
    EXPECT_EQ(fake_.last_authorization(), "Bearer two") << "it goes on to the service";
    EXPECT_EQ(fetch(path, "Authorization: Bearer one\r\n").status, 200) << path;
    EXPECT_EQ(fetch(path, "X-Api-Key: three\r\n").status, 401) << path;
    EXPECT_EQ(fetch(path, "X-Api-Key: \r\n").status, 401) << path;
    EXPECT_EQ(fetch(path, "X-Api-Key: two\r\nAuthorization: Bearer three\r\n").status, 401)
        << "Authorization counts where there is one";
    EXPECT_EQ(fetch(path, "X-Api-Key: two\r\nX-Api-Key: one\r\n").status, 400) << path;
  }
}

}  // namespace
}  // namespace tidal
