#include "server/grpc/grpc_server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "proto/tidal/v1/inference.grpc.pb.h"
#include "tests/server/generation/service_harness.h"

namespace tidal {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;

constexpr auto kLongTime = std::chrono::seconds(60);

// A server on a free port, and clients of it. The parameter: over the network or in the process.
class GrpcServerTest : public ::testing::TestWithParam<bool> {
 protected:
  void StartServer(HarnessOptions options = {}) {
    harness_ = std::make_unique<ServiceHarness>(std::move(options));
    auto server = GrpcServer::Start(options_, &harness_->service());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = GetParam() ? server_->InProcessChannel()
                          : grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                                grpc::InsecureChannelCredentials());
    stub_ = v1::Inference::NewStub(channel_);
    health_ = grpc::health::v1::Health::NewStub(channel_);
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Stop(absl::ZeroDuration());
  }

  static void Limit(grpc::ClientContext* context) {
    context->set_deadline(std::chrono::system_clock::now() + kLongTime);
  }

  grpc::Status Generate(const v1::GenerateRequest& request, Reply* reply) {
    grpc::ClientContext context;
    Limit(&context);
    auto reader = stub_->Generate(&context, request);
    v1::GenerateResponse event;
    while (reader->Read(&event)) reply->Add(event);
    return reader->Finish();
  }

  grpc::Status Check(const std::string& service, HealthCheckResponse* response) {
    grpc::ClientContext context;
    Limit(&context);
    HealthCheckRequest request;
    request.set_service(service);
    return health_->Check(&context, request, response);
  }

  // One message to a method as raw bytes; what comes back first, or the status.
  grpc::Status CallRaw(const std::string& method, const std::string& bytes, std::string* reply) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    Limit(&context);
    grpc::CompletionQueue queue;
    const auto next = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      EXPECT_TRUE(queue.Next(&tag, &ok));
      return ok;
    };
    auto call = stub.PrepareCall(&context, method, &queue);
    call->StartCall(nullptr);
    next();
    grpc::Slice slice(bytes);
    call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
    next();
    grpc::ByteBuffer received;
    call->Read(&received, nullptr);
    if (next()) {
      grpc::Slice whole;
      EXPECT_TRUE(received.DumpToSingleSlice(&whole).ok());
      reply->assign(reinterpret_cast<const char*>(whole.begin()), whole.size());
      context.TryCancel();
    }
    grpc::Status status;
    call->Finish(&status, nullptr);
    next();
    queue.Shutdown();
    return status;
  }

  GrpcServerOptions options_;
  std::unique_ptr<ServiceHarness> harness_;
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Inference::Stub> stub_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

INSTANTIATE_TEST_SUITE_P(Channel, GrpcServerTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "InProcess" : "Loopback"; });

// gRPC reads all headers of a connection with one state, so a header it does not read ends the
// connection.
TEST_P(GrpcServerTest, ALargeHeaderIsRefused) {
  options_.max_header_bytes = 4096;
  StartServer();
  const auto call = [this](size_t header_bytes) {
    grpc::ClientContext context;
    Limit(&context);
    context.AddMetadata("x-large", std::string(header_bytes, 'x'));
    v1::ModelInfo info;
    return stub_->GetModelInfo(&context, {}, &info);
  };
  EXPECT_TRUE(call(3000).ok());
  if (GetParam()) return;  // in the process there is no header to read
  EXPECT_THAT(server_->RenderMetrics(), HasSubstr("tidal:grpc_connections 1\n"));
  EXPECT_FALSE(call(5000).ok());
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (!call(3000).ok()) ASSERT_LT(absl::Now(), deadline);
}

TEST_P(GrpcServerTest, StreamsAReply) {
  StartServer();
  harness_->Say("Once upon a time");
  v1::GenerateRequest request = harness_->MakeRequest();
  request.set_n(2);
  Reply reply;
  const grpc::Status status = Generate(request, &reply);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(reply.outputs.size(), 2);
  EXPECT_EQ(reply.outputs[0].text, "Once upon a time");
  EXPECT_EQ(reply.outputs[1].text, "Once upon a time");
  EXPECT_TRUE(reply.usage.has_value());
}

TEST_P(GrpcServerTest, ErrorsKeepCodeAndMessage) {
  StartServer();
  Reply reply;
  v1::GenerateRequest request = harness_->MakeRequest();
  request.set_model("other");
  grpc::Status status = Generate(request, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "model: must be tidal-nano or nano, got other");

  v1::GenerateRequest long_prompt;
  for (int i = 0; i < 500; ++i) long_prompt.mutable_token_ids()->add_ids(7);
  status = Generate(long_prompt, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "prompt: must have at most 199 tokens, got 500");

  status = Generate({}, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_FALSE(reply.prompt.has_value());
}

TEST_P(GrpcServerTest, BrokenMessagesAreInvalidArguments) {
  StartServer();
  std::string reply;
  // Field 2, the text: "\xff" is no UTF-8.
  grpc::Status status =
      CallRaw("/tidal.v1.Inference/Generate", std::string("\x12\x01\xff"), &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  status = CallRaw("/tidal.v1.Inference/Generate", std::string("\x12\x7f"), &reply);  // cut off
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
}

TEST_P(GrpcServerTest, TooLargeMessagesAreRefused) {
  StartServer();
  v1::GenerateRequest request;
  request.set_text(std::string((16 << 20) + 100, 'x'));
  Reply reply;
  EXPECT_EQ(Generate(request, &reply).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  harness_->Say("still here");
  EXPECT_TRUE(Generate(harness_->MakeRequest(), &reply).ok());
}

TEST_P(GrpcServerTest, ClientsCancelFreesTheRequest) {
  StartServer();
  harness_->Say(std::vector<TokenId>{200});
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, harness_->MakeRequest());
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  context.TryCancel();
  while (reader->Read(&event)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  harness_->WaitUntilIdle();
  EXPECT_EQ(harness_->loop().stats().free_blocks, harness_->loop().stats().num_blocks);
}

TEST_P(GrpcServerTest, DeadlineFreesTheRequest) {
  HarnessOptions options;
  options.on_step = [](const StepInput&) { absl::SleepFor(absl::Milliseconds(5)); };
  StartServer(options);
  harness_->Say(std::vector<TokenId>{200});
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  auto reader = stub_->Generate(&context, harness_->MakeRequest());
  v1::GenerateResponse event;
  while (reader->Read(&event)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  harness_->WaitUntilIdle();
}

TEST_P(GrpcServerTest, AClientThatStopsReadingHoldsOnlyItself) {
  StartServer();
  harness_->Say("1234567890");
  grpc::ClientContext context;
  Limit(&context);
  auto lazy = stub_->Generate(&context, harness_->MakeRequest());
  for (int i = 0; i < 5; ++i) {
    Reply reply;
    ASSERT_TRUE(Generate(harness_->MakeRequest(), &reply).ok());
    EXPECT_EQ(reply.outputs[0].text, "1234567890");
  }
  harness_->WaitUntilIdle();
  Reply late;
  v1::GenerateResponse event;
  while (lazy->Read(&event)) late.Add(event);
  EXPECT_TRUE(lazy->Finish().ok());
  EXPECT_EQ(late.outputs[0].text, "1234567890");
}

TEST_P(GrpcServerTest, ManyStreamsWithDisconnectsLeaveNothingBehind) {
  HarnessOptions options;
  options.max_queued_requests = 1000;
  StartServer(options);
  harness_->Say("12345678901234567890");
  std::atomic<int> complete{0}, expected{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] {
      for (int j = 0; j < 12; ++j) {
        grpc::ClientContext context;
        Limit(&context);
        auto reader = stub_->Generate(&context, harness_->MakeRequest());
        const bool leaves = (i + j) % 3 == 0;
        expected += !leaves;
        Reply reply;
        v1::GenerateResponse event;
        for (int reads = 0; reader->Read(&event); ++reads) {
          reply.Add(event);
          if (leaves && reads == 2) context.TryCancel();
        }
        const bool ok = reader->Finish().ok();
        complete += !leaves && ok && reply.outputs.at(0).text == "12345678901234567890";
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(complete, expected);
  harness_->WaitUntilIdle();
  EXPECT_EQ(harness_->loop().stats().free_blocks, harness_->loop().stats().num_blocks);
}

TEST_P(GrpcServerTest, UnaryMethodsAnswer) {
  StartServer();
  v1::TokenizeRequest tokenize;
  tokenize.set_text("Hello");
  v1::TokenizeResponse tokens;
  grpc::ClientContext tokenize_context, detokenize_context, info_context, bad_context;
  ASSERT_TRUE(stub_->Tokenize(&tokenize_context, tokenize, &tokens).ok());
  v1::DetokenizeRequest detokenize;
  *detokenize.mutable_token_ids() = tokens.token_ids();
  v1::DetokenizeResponse text;
  ASSERT_TRUE(stub_->Detokenize(&detokenize_context, detokenize, &text).ok());
  EXPECT_EQ(text.text(), "<|bos|>Hello");
  v1::ModelInfo info;
  ASSERT_TRUE(stub_->GetModelInfo(&info_context, {}, &info).ok());
  EXPECT_EQ(info.model(), "tidal-nano");
  EXPECT_EQ(stub_->Tokenize(&bad_context, {}, &tokens).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_P(GrpcServerTest, AsksForAKey) {
  options_.api_keys = *ApiKeys::Load({"one", "two"}, "");
  StartServer();
  harness_->Say("Hello");
  const auto call = [](const std::string& authorization, auto method) {
    grpc::ClientContext context;
    Limit(&context);
    if (!authorization.empty()) context.AddMetadata("authorization", authorization);
    return method(&context).error_code();
  };
  const auto generate = [this](grpc::ClientContext* context) {
    auto reader = stub_->Generate(context, harness_->MakeRequest());
    v1::GenerateResponse event;
    while (reader->Read(&event)) {
    }
    return reader->Finish();
  };
  v1::TokenizeRequest text;
  text.set_text("Hello");
  v1::TokenizeResponse tokens;
  const auto tokenize = [&](auto* context) { return stub_->Tokenize(context, text, &tokens); };
  v1::DetokenizeResponse decoded;
  const auto detokenize = [&](auto* context) { return stub_->Detokenize(context, {}, &decoded); };
  v1::ModelInfo info;
  const auto get_info = [&](auto* context) { return stub_->GetModelInfo(context, {}, &info); };
  const auto check_all = [&](const std::string& authorization, grpc::StatusCode wanted) {
    EXPECT_EQ(call(authorization, generate), wanted) << authorization;
    EXPECT_EQ(call(authorization, tokenize), wanted) << authorization;
    EXPECT_EQ(call(authorization, detokenize), wanted) << authorization;
    EXPECT_EQ(call(authorization, get_info), wanted) << authorization;
  };
  for (const char* wrong : {"", "Bearer", "Bearer ", "Bearer three", "two", "Basic two"}) {
    check_all(wrong, grpc::StatusCode::UNAUTHENTICATED);
  }
  check_all("Bearer two", grpc::StatusCode::OK);
  check_all("bearer one", grpc::StatusCode::OK);
  EXPECT_EQ(options_.api_keys->refused(), 24);
  HealthCheckResponse response;
  EXPECT_TRUE(Check("", &response).ok());
  std::string reply;
  CallRaw("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x01*", &reply);
  EXPECT_THAT(reply, HasSubstr("tidal.v1.Inference"));
}

TEST_P(GrpcServerTest, HealthFollowsTheServer) {
  StartServer();
  HealthCheckResponse response;
  for (const char* service : {"", "tidal.v1.Inference"}) {
    ASSERT_TRUE(Check(service, &response).ok());
    EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  }
  EXPECT_EQ(Check("other", &response).error_code(), grpc::StatusCode::NOT_FOUND);
  server_->SetReady(true);
  for (const char* service : {"", "tidal.v1.Inference"}) {
    ASSERT_TRUE(Check(service, &response).ok());
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  }
  ASSERT_TRUE(Check("live", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING) << "a status of its own";
  server_->SetLive(true);
  server_->SetReady(false);
  ASSERT_TRUE(Check("", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  ASSERT_TRUE(Check("live", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
}

TEST_P(GrpcServerTest, WatchesSeeEachChangeAndTheEnd) {
  StartServer();
  grpc::ClientContext context, unknown_context;
  Limit(&context);
  Limit(&unknown_context);
  HealthCheckRequest request;
  HealthCheckResponse response;
  auto watch = health_->Watch(&context, request);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  server_->SetReady(true);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  server_->SetReady(true);  // no change, no message
  server_->SetReady(false);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);

  request.set_service("other");
  auto unknown = health_->Watch(&unknown_context, request);
  ASSERT_TRUE(unknown->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);

  server_->Stop(absl::Seconds(30));
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_FALSE(watch->Finish().ok());
  EXPECT_FALSE(unknown->Read(&response));
  EXPECT_FALSE(unknown->Finish().ok());
}

TEST_P(GrpcServerTest, ReflectionDescribesTheServices) {
  StartServer();
  const std::string method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  std::string reply;
  CallRaw(method, std::string("\x3a\x01*"), &reply);  // list_services
  EXPECT_THAT(reply, HasSubstr("tidal.v1.Inference"));
  EXPECT_THAT(reply, HasSubstr("grpc.health.v1.Health"));
  const std::string symbol = "tidal.v1.Inference";
  reply.clear();
  CallRaw(method, absl::StrCat("\x22", std::string(1, static_cast<char>(symbol.size())), symbol),
          &reply);  // file_containing_symbol
  EXPECT_THAT(reply, HasSubstr("GenerateRequest"));
}

// Not in the process: gRPC's in-process transport ends its streams at once.
using GrpcServerStopTest = GrpcServerTest;
INSTANTIATE_TEST_SUITE_P(Loopback, GrpcServerStopTest, ::testing::Values(false));

TEST_P(GrpcServerStopTest, LetsRunningStreamsFinish) {
  HarnessOptions options;
  options.on_step = [](const StepInput&) { absl::SleepFor(absl::Milliseconds(3)); };
  StartServer(options);
  harness_->Say("12345678901234567890");
  grpc::ClientContext context;
  Limit(&context);
  auto reader = stub_->Generate(&context, harness_->MakeRequest());
  Reply reply;
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  reply.Add(event);
  std::thread stopper([this] { server_->Stop(absl::Seconds(30)); });
  while (reader->Read(&event)) reply.Add(event);
  stopper.join();
  EXPECT_TRUE(reader->Finish().ok());
  ASSERT_EQ(reply.outputs.size(), 1);
  EXPECT_EQ(reply.outputs[0].text, "12345678901234567890");
  Reply refused;
  EXPECT_FALSE(Generate(harness_->MakeRequest(), &refused).ok());
}

TEST(GrpcServerStartTest, APortInUseIsAClearError) {
  ServiceHarness harness;
  auto first = GrpcServer::Start({}, &harness.service());
  ASSERT_TRUE(first.ok()) << first.status();
  GrpcServerOptions options;
  options.port = (*first)->port();
  const absl::Status status = GrpcServer::Start(options, &harness.service()).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("grpc_port: cannot listen on 127.0.0.1:", options.port)));
}

TEST(GrpcServerStartTest, UnreadableTlsFilesAreNamed) {
  ServiceHarness harness;
  GrpcServerOptions options;
  options.tls.cert_file = "no/cert.pem";
  options.tls.key_file = "no/key.pem";
  EXPECT_THAT(std::string(GrpcServer::Start(options, &harness.service()).status().message()),
              HasSubstr("tls_cert_file: must be a readable PEM certificate, got no/cert.pem"));
}

}  // namespace
}  // namespace tidal
