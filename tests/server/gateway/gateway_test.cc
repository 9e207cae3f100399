#include "server/gateway/gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "server/observe/tracer.h"
#include "tests/server/gateway/gateway_fixture.h"

namespace tidal {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class GatewayTest : public GatewayFixture {
 protected:
  std::string Metric(const std::string& line) {
    const std::string body = Fetch(port(), GetRequest("/metrics")).body;
    const size_t at = body.find("\n" + line + " ");
    if (at == std::string::npos) return "";
    const size_t start = at + line.size() + 2;
    return body.substr(start, body.find('\n', start) - start);
  }
};

TEST_F(GatewayTest, AnswersACompletion) {
  StartGateway();
  const HttpReply reply =
      Fetch(port(), PostRequest("/v1/completions", kPrompt, "X-Request-Id: abc\r\n"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.head, HasSubstr("X-Request-Id: abc"));
  const json body = json::parse(reply.body);
  EXPECT_EQ(body["id"], "cmpl-abc");
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["model"], "fake");
  EXPECT_EQ(body["choices"][0]["text"], "Hello world");
  EXPECT_EQ(body["usage"]["total_tokens"], 5);
  EXPECT_EQ(fake_.last_request().request_id(), "abc");
  EXPECT_TRUE(fake_.last_request().output().final_only());
}

TEST_F(GatewayTest, StreamsAChat) {
  StartGateway();
  const HttpReply reply = Fetch(port(), PostRequest("/v1/chat/completions",
                                                    R"({"stream": true, "messages": [
                                                        {"role": "user", "content": "Hi"}]})"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_TRUE(reply.complete);
  EXPECT_THAT(reply.head, HasSubstr("text/event-stream"));
  EXPECT_THAT(reply.body, HasSubstr(R"("delta":{"role":"assistant","content":""})"));
  EXPECT_THAT(reply.body, HasSubstr(R"("delta":{"content":" world"})"));
  EXPECT_TRUE(absl::EndsWith(reply.body, "data: [DONE]\n\n")) << reply.body;
}

TEST_F(GatewayTest, StreamsTellOfTheirUsageUnaskedWhereTheOperatorWantsIt) {
  options_.reply_defaults.force_include_usage = true;
  StartGateway();
  const std::string body = Fetch(port(), PostRequest("/v1/completions", kStream)).body;
  const std::vector<std::string> events = absl::StrSplit(body, "\n\n", absl::SkipEmpty());
  ASSERT_GT(events.size(), 2u);
  EXPECT_EQ(events.back(), "data: [DONE]");
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    const json chunk = json::parse(events[i].substr(6));
    EXPECT_EQ(chunk["usage"]["prompt_tokens"], 3) << events[i];
    EXPECT_EQ(chunk["choices"].empty(), i + 2 == events.size());
  }
}

TEST_F(GatewayTest, SeveralPromptsGiveOneChoiceEach) {
  StartGateway();
  const HttpReply reply =
      Fetch(port(), PostRequest("/v1/completions", R"({"prompt": ["a", "b", "c"], "n": 2})"));
  const json body = json::parse(reply.body);
  ASSERT_EQ(body["choices"].size(), 6);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(body["choices"][i]["index"], i);
  EXPECT_EQ(body["usage"]["prompt_tokens"], 9);
  EXPECT_EQ(body["usage"]["completion_tokens"], 12);
  EXPECT_EQ(fake_.calls, 3);
}

TEST_F(GatewayTest, AnInvocationIsAChatOrACompletion) {
  StartGateway();
  const std::string messages = R"({"messages": [{"role": "user", "content": "Hi"}]})";
  for (const auto& [body, object] :
       {std::pair<std::string, std::string>(kPrompt, "text_completion"),
        {messages, "chat.completion"}}) {
    const HttpReply reply = Fetch(port(), PostRequest("/invocations", body));
    EXPECT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(json::parse(reply.body)["object"], object);
  }
  const HttpReply neither = Fetch(port(), PostRequest("/invocations", "{}"));
  EXPECT_EQ(neither.status, 400);
  EXPECT_THAT(neither.body, HasSubstr("prompt: must be given"));
}

TEST_F(GatewayTest, OtherEndpoints) {
  options_.render_metrics = [] { return std::string("vllm:num_requests_running 0\n"); };
  StartGateway();
  EXPECT_EQ(json::parse(Fetch(port(), GetRequest("/v1/models")).body)["data"][1]["id"],
            "org/alias");
  EXPECT_EQ(Fetch(port(), GetRequest("/v1/models/org/alias")).status, 200);
  EXPECT_EQ(Fetch(port(), GetRequest("/v1/models/other")).status, 404);
  EXPECT_EQ(
      json::parse(Fetch(port(), PostRequest("/tokenize", R"({"prompt": "AB"})")).body),
      json({{"count", 2}, {"max_model_len", 1000}, {"tokens", {65, 66}}, {"token_strs", nullptr}}));
  EXPECT_EQ(json::parse(Fetch(port(), PostRequest("/detokenize", R"({"tokens": [65]})")).body),
            json({{"prompt", "A"}}));
  EXPECT_EQ(
      json::parse(
          Fetch(port(), PostRequest("/tokenize", R"({"prompt": "A\"", "return_token_strs": true})"))
              .body)["token_strs"],
      json({"A", "\""}));
  const HttpReply unknown = Fetch(port(), PostRequest("/detokenize", R"({"tokens": [200]})"));
  EXPECT_EQ(unknown.status, 400);
  EXPECT_EQ(json::parse(unknown.body)["error"]["param"], "tokens[0]");
  const std::string large = "{\"prompt\": \"" + std::string(8 << 20, 'a') + "\"}";
  EXPECT_EQ(Fetch(port(), PostRequest("/tokenize", large)).status, 413);
  EXPECT_FALSE(json::parse(Fetch(port(), GetRequest("/version")).body)["version"].empty());
  const HttpReply metrics = Fetch(port(), GetRequest("/metrics"));
  EXPECT_THAT(metrics.head, HasSubstr("text/plain; version=0.0.4"));
  EXPECT_THAT(metrics.body, HasSubstr("vllm:num_requests_running 0\n"));
  EXPECT_THAT(metrics.body,
              HasSubstr(R"(tidal:http_requests_total{handler="/v1/models",code="200"} 1)"));
}

TEST_F(GatewayTest, PassesTheCallersTraceOn) {
  std::mutex mutex;
  std::vector<std::string> got;  // by the service, of the last call
  fake_.set_script([&](grpc::ServerContext& context, const v1::GenerateRequest& request,
                       FakeInference::Writer& writer) {
    const std::lock_guard<std::mutex> lock(mutex);
    got.clear();
    for (const char* key : {"traceparent", "tracestate"}) {
      const auto [begin, end] = context.client_metadata().equal_range(key);
      for (auto entry = begin; entry != end; ++entry) {
        got.emplace_back(entry->second.data(), entry->second.size());
      }
    }
    return FakeInference::Hello(context, request, writer);
  });
  StartGateway();
  const std::string parent = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01";
  const auto pass = [&](const std::string& headers) {
    EXPECT_EQ(Fetch(port(), PostRequest("/v1/completions", kPrompt, headers)).status, 200);
    const std::lock_guard<std::mutex> lock(mutex);
    return got;
  };
  const std::string header = "traceparent: " + parent + "\r\n";
  EXPECT_THAT(pass(header), ElementsAre(parent)) << "unchanged: this gateway records nothing";
  EXPECT_THAT(pass(header + "tracestate: a=1\r\ntracestate: b=2\r\n"),
              ElementsAre(parent, "a=1,b=2"));
  EXPECT_THAT(pass(header + "tracestate: not a state\r\n"), ElementsAre(parent));
  EXPECT_THAT(pass(""), ElementsAre());
  EXPECT_THAT(pass(header + header), ElementsAre()) << "two parents are none";

  TracingOptions tracing;
  tracing.otlp_endpoint = "http://127.0.0.1:1/";
  Tracer tracer(tracing, "test");
  gateway_.reset();
  options_.tracer = &tracer;
  StartGateway();
  const std::vector<std::string> passed = pass(header);
  ASSERT_EQ(passed.size(), 1);
  EXPECT_TRUE(absl::StartsWith(passed[0], parent.substr(0, 36))) << "the same trace";
  EXPECT_NE(passed[0], parent) << "the gateway's span stands between";
  EXPECT_EQ(Metric("tidal:spans_exported_total"), "0");
  gateway_.reset();
}

TEST_F(GatewayTest, Health) {
  bool live = true;
  options_.is_live = [&] { return live; };
  StartGateway();
  for (const char* path : {"/health", "/health/ready", "/ping", "/health/live"}) {
    EXPECT_EQ(Fetch(port(), GetRequest(path)).status, 200) << path;
  }
  fake_.serving = false;
  live = false;
  for (const char* path : {"/health", "/health/ready", "/ping", "/health/live"}) {
    EXPECT_EQ(Fetch(port(), GetRequest(path)).status, 503) << path;
  }
}

TEST_F(GatewayTest, UnknownPathsAndMethods) {
  StartGateway();
  const HttpReply missing = Fetch(port(), GetRequest("/v2/completions"));
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(json::parse(missing.body)["error"]["type"], "not_found_error");
  const HttpReply wrong = Fetch(port(), GetRequest("/v1/completions"));
  EXPECT_EQ(wrong.status, 405);
  EXPECT_THAT(wrong.head, HasSubstr("Allow: POST"));
  HttpClient client(port());
  client.Send(
      "HEAD /health HTTP/1.1\r\nHost: test\r\n\r\nGET /version HTTP/1.1\r\nHost: test\r\n\r\n");
  const std::string both = client.ReadUntil("version\"");
  EXPECT_THAT(both, Not(HasSubstr("ready\n"))) << "HEAD must have no body";
}

TEST_F(GatewayTest, ServiceErrorsBecomeHttpErrors) {
  const std::vector<std::pair<grpc::StatusCode, int>> cases = {
      {grpc::StatusCode::INVALID_ARGUMENT, 400},   {grpc::StatusCode::NOT_FOUND, 404},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, 429}, {grpc::StatusCode::CANCELLED, 499},
      {grpc::StatusCode::INTERNAL, 500},           {grpc::StatusCode::UNIMPLEMENTED, 501},
      {grpc::StatusCode::UNAVAILABLE, 503},        {grpc::StatusCode::DEADLINE_EXCEEDED, 504}};
  std::atomic<int> code = 0;
  fake_.set_script([&](auto&, auto&, auto&) {
    return grpc::Status(static_cast<grpc::StatusCode>(code.load()),
                        "sampling.temperature: must be in [0, 2], got 3");
  });
  StartGateway();
  for (const auto& [grpc_code, http_status] : cases) {
    code = grpc_code;
    for (const char* body : {kPrompt, kStream}) {
      const HttpReply reply = Fetch(port(), PostRequest("/v1/completions", body));
      EXPECT_EQ(reply.status, http_status);
      EXPECT_EQ(absl::StrContains(reply.head, "Retry-After"),
                http_status == 429 || http_status == 503);
      const json error = json::parse(reply.body)["error"];
      if (http_status != 400) continue;
      EXPECT_EQ(error["param"], "temperature");
      EXPECT_EQ(error["message"], "temperature: must be in [0, 2], got 3");
    }
  }
}

TEST_F(GatewayTest, AnErrorInAStreamIsAnEvent) {
  fake_.set_script([](auto&, auto&, FakeInference::Writer& writer) {
    writer.Write(FakeInference::Prompt(1));
    writer.Write(FakeInference::Delta(0, "Half"));
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "shutting down");
  });
  StartGateway();
  HttpClient client(port());
  client.Send(PostRequest("/v1/completions", kStream));
  const HttpReply reply = client.ReadReply();
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.body, HasSubstr("Half"));
  EXPECT_THAT(reply.body,
              HasSubstr(R"(data: {"error":{"message":"the answer was cut short: shutting down")"));
  EXPECT_THAT(reply.body, Not(HasSubstr("[DONE]")));
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(GatewayTest, AReplyThatEndsEarlyIsAnError) {
  fake_.set_script([](auto&, auto&, FakeInference::Writer& writer) {
    writer.Write(FakeInference::Prompt(1));
    return grpc::Status::OK;
  });
  StartGateway();
  EXPECT_EQ(Fetch(port(), PostRequest("/v1/completions", kPrompt)).status, 500);
}

// A thread of gRPC may still be about to leave the last reply when the gateway is gone.
TEST_F(GatewayTest, GoesRightAfterItsLastReply) {
  fake_.set_script([](auto&, auto&, FakeInference::Writer&) { return grpc::Status::OK; });
  for (int i = 0; i < 100; ++i) {
    StartGateway();
    EXPECT_EQ(Fetch(port(), PostRequest("/v1/completions", kPrompt)).status, 500);
    gateway_.reset();
    StartGateway();
    EXPECT_EQ(Fetch(port(), GetRequest("/health")).status, 200);
    gateway_.reset();
  }
}

// A script that writes until the client is gone.
grpc::Status Endless(grpc::ServerContext& context, const v1::GenerateRequest&,
                     FakeInference::Writer& writer) {
  writer.Write(FakeInference::Prompt(1));
  while (!context.IsCancelled() && writer.Write(FakeInference::Delta(0, "word "))) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  return grpc::Status::CANCELLED;
}

TEST_F(GatewayTest, LeavingCancelsTheCall) {
  fake_.set_script(Endless);
  StartGateway();
  for (const bool stream : {true, false}) {
    for (const bool reset : {true, false}) {
      fake_.cancelled = 0;
      HttpClient client(port());
      client.Send(PostRequest("/v1/completions", stream ? kStream : kPrompt));
      if (stream) {
        EXPECT_THAT(client.ReadUntil("word"), HasSubstr("word"));
      } else {
        const int before = fake_.calls;
        EXPECT_TRUE(Eventually([&] { return fake_.calls >= before; }));
        absl::SleepFor(absl::Milliseconds(50));
      }
      reset ? client.Reset() : client.Close();
      EXPECT_TRUE(Eventually([&] { return fake_.cancelled == 1; })) << stream << reset;
    }
  }
  EXPECT_TRUE(Eventually([&] { return Metric("tidal:http_connections") == "1"; }));
}

TEST_F(GatewayTest, ASlowReaderStopsTheCallNotTheGateway) {
  options_.limits.http_write_timeout = absl::Milliseconds(800);
  std::atomic<int> written = 0;
  fake_.set_script([&](grpc::ServerContext& context, auto&, FakeInference::Writer& writer) {
    writer.Write(FakeInference::Prompt(1));
    const std::string piece(1024, 'x');
    while (!context.IsCancelled() && writer.Write(FakeInference::Delta(0, piece))) ++written;
    return grpc::Status::CANCELLED;
  });
  StartGateway();
  HttpClient slow(port());
  slow.Send(PostRequest("/v1/completions", kStream));
  int stalled_at = 0;
  EXPECT_TRUE(Eventually([&] {
    const bool same = written > 0 && written == stalled_at;
    stalled_at = written;
    absl::SleepFor(absl::Milliseconds(100));
    return same;
  })) << "the service must be held back";
  // The kernel's socket buffers and ours, far below what the service could write in the time.
  EXPECT_LT(stalled_at, 8192);
  EXPECT_TRUE(Eventually([&] { return fake_.cancelled == 1; })) << "cut after write_timeout";
}

TEST_F(GatewayTest, ASlowReaderThatGoesOnGetsEverything) {
  constexpr int kPieces = 3000;
  fake_.set_script([&](auto&, auto&, FakeInference::Writer& writer) {
    writer.Write(FakeInference::Prompt(1));
    for (int i = 0; i < kPieces; ++i) {
      if (!writer.Write(
              FakeInference::Delta(0, absl::StrCat("<", i, ">", std::string(900, 'x'))))) {
        return grpc::Status::CANCELLED;
      }
    }
    writer.Write(FakeInference::Finish(0, v1::FINISH_REASON_LENGTH));
    writer.Write(FakeInference::Usage(1, kPieces));
    return grpc::Status::OK;
  });
  StartGateway();
  HttpClient client(port());
  client.Send(PostRequest("/v1/completions", kStream));
  absl::SleepFor(absl::Milliseconds(500));
  const HttpReply reply = client.ReadReply();
  EXPECT_TRUE(reply.complete);
  size_t at = 0;
  for (int i = 0; i < kPieces; ++i) {
    at = reply.body.find(absl::StrCat("<", i, ">"), at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  EXPECT_TRUE(absl::EndsWith(reply.body, "data: [DONE]\n\n"));
}

TEST_F(GatewayTest, ManyStreamsAtOnce) {
  constexpr int kClients = 150;
  fake_.set_script([&](grpc::ServerContext& context, const v1::GenerateRequest& request,
                       FakeInference::Writer& writer) {
    writer.Write(FakeInference::Prompt(1));
    while (!go_ && !context.IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    for (int i = 0; i < 20; ++i) writer.Write(FakeInference::Delta(0, request.text()));
    writer.Write(FakeInference::Finish(0, v1::FINISH_REASON_STOP));
    writer.Write(FakeInference::Usage(1, 20));
    return grpc::Status::OK;
  });
  StartGateway();
  std::vector<std::unique_ptr<HttpClient>> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<HttpClient>(port()));
    clients.back()->Send(PostRequest(
        "/v1/completions", absl::StrCat(R"({"stream": true, "prompt": "<)", i, R"(>"})")));
  }
  EXPECT_TRUE(Eventually([&] { return fake_.calls == kClients; }));
  for (int i = 0; i < kClients; i += 3) clients[i]->Reset();
  go_ = true;
  for (int i = 0; i < kClients; ++i) {
    if (i % 3 == 0) continue;
    const HttpReply reply = clients[i]->ReadReply();
    ASSERT_TRUE(reply.complete) << i;
    int pieces = 0;
    const std::string piece = absl::StrCat("\"<", i, ">\"");
    for (size_t at = 0; (at = reply.body.find(piece, at)) != std::string::npos; ++at) ++pieces;
    EXPECT_EQ(pieces, 20) << i;
  }
  clients.clear();
  EXPECT_TRUE(Eventually([&] { return Metric("tidal:http_connections") == "1"; }));
}

TEST_F(GatewayTest, StopLetsRunningRepliesEnd) {
  fake_.set_script([&](auto& context, auto& request, auto& writer) {
    while (!go_) absl::SleepFor(absl::Milliseconds(5));
    return FakeInference::Hello(context, request, writer);
  });
  StartGateway();
  HttpClient running(port()), idle(port());
  running.Send(PostRequest("/v1/completions", kPrompt));
  EXPECT_TRUE(Eventually([&] { return fake_.calls == 1; }));
  std::thread stopper([&] { gateway_->Stop(absl::Seconds(20)); });
  EXPECT_TRUE(Eventually([&] { return Fetch(port(), GetRequest("/health/ready")).status == 503; }));
  EXPECT_EQ(Fetch(port(), PostRequest("/v1/completions", kPrompt)).status, 503);
  EXPECT_EQ(Fetch(port(), GetRequest("/health/live")).status, 200);
  go_ = true;
  const HttpReply reply = running.ReadReply();
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.body, HasSubstr("Hello world"));
  stopper.join();
  EXPECT_TRUE(idle.AtEnd());
  EXPECT_FALSE(HttpClient(port()).connected());
}

TEST_F(GatewayTest, StopCancelsWhatOutlivesTheGrace) {
  fake_.set_script(Endless);
  StartGateway();
  HttpClient client(port());
  client.Send(PostRequest("/v1/completions", kStream));
  EXPECT_THAT(client.ReadUntil("word"), HasSubstr("word"));
  gateway_->Stop(absl::Milliseconds(50));
  EXPECT_TRUE(Eventually([&] { return fake_.cancelled == 1; }));
}

TEST_F(GatewayTest, RefusesAPortInUseAndBadOptions) {
  StartGateway();
  options_.port = port();
  const auto second = Gateway::Start(options_, fake_.channel());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(second.status().message(), HasSubstr(absl::StrCat("http_port: ")));
  EXPECT_THAT(second.status().message(), HasSubstr(absl::StrCat(options_.port)));
  options_.port = 70000;
  EXPECT_EQ(Gateway::Start(options_, fake_.channel()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tidal
