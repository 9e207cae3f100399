#include "server/gateway/server_channel.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/server/gateway/fake_inference.h"

namespace tidal {
namespace {

constexpr int kRequests = 20;

FakeInference::Script Refuse(grpc::StatusCode code) {
  return [code](grpc::ServerContext& context, const v1::GenerateRequest&, FakeInference::Writer&) {
    context.AddTrailingMetadata("retry-after", "7");
    return grpc::Status(code, "not now");
  };
}

class ServerChannelTest : public ::testing::Test {
 protected:
  // With both servers behind it, each of which has answered a call by now.
  void Open() {
    ServerChannelOptions options;
    options.target = absl::StrCat("ipv4:", first_.address(), ",", second_.address());
    auto channel = ServerChannel::Open(options);
    ASSERT_TRUE(channel.ok()) << channel.status();
    channel_ = *std::move(channel);
    const FakeInference::Script first_script = first_.script(), second_script = second_.script();
    SetBothScripts(&FakeInference::Hello);
    for (int i = 0; (first_.calls == 0 || second_.calls == 0) && i < 1000; ++i) {
      EXPECT_TRUE(Generate().ok());
    }
    ASSERT_TRUE(first_.calls > 0 && second_.calls > 0);
    first_.set_script(first_script);
    second_.set_script(second_script);
    first_.calls = second_.calls = 0;
  }

  void SetBothScripts(const FakeInference::Script& script) {
    first_.set_script(script);
    second_.set_script(script);
  }

  grpc::Status Generate(const std::string& prompt = "Hi") {
    context_ = std::make_unique<grpc::ClientContext>();
    context_->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    v1::GenerateRequest request;
    request.set_text(prompt);
    request.set_n(1);
    const auto reader = channel_->stubs()->inference->Generate(context_.get(), request);
    v1::GenerateResponse event;
    num_events_ = 0;
    while (reader->Read(&event)) ++num_events_;
    return reader->Finish();
  }

  FakeInference first_, second_;
  std::unique_ptr<ServerChannel> channel_;
  std::unique_ptr<grpc::ClientContext> context_;  // of the last call
  int num_events_ = 0;                            // of the last call
};

TEST_F(ServerChannelTest, ServersTakeTurns) {
  Open();
  for (int i = 0; i < kRequests; ++i) EXPECT_TRUE(Generate().ok());
  EXPECT_EQ(first_.calls, kRequests / 2);
  EXPECT_EQ(second_.calls, kRequests / 2);
}

TEST_F(ServerChannelTest, WhatDoesNotServeIsLeftAloneUntilItDoes) {
  Open();
  first_.serving = false;
  absl::SleepFor(absl::Milliseconds(200));
  for (int i = 0; i < kRequests; ++i) EXPECT_TRUE(Generate().ok());
  EXPECT_EQ(first_.calls, 0);
  EXPECT_EQ(second_.calls, kRequests);
  first_.serving = true;
  for (int i = 0; first_.calls == 0 && i < 1000; ++i) {
    EXPECT_TRUE(Generate().ok());
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_GT(first_.calls, 0);
}

TEST_F(ServerChannelTest, NoServerThatServesIsUnavailable) {
  Open();
  first_.serving = second_.serving = false;
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_EQ(Generate().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(first_.calls + second_.calls, 0);
}

TEST_F(ServerChannelTest, WhatOneRefusesAnotherTakes) {
  for (const auto code : {grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::RESOURCE_EXHAUSTED}) {
    Open();
    first_.set_script(Refuse(code));
    for (int i = 0; i < kRequests; ++i) EXPECT_TRUE(Generate().ok());
    EXPECT_GT(first_.calls, 0);
    EXPECT_EQ(second_.calls, kRequests);
  }
}

TEST_F(ServerChannelTest, LargeRequestsToo) {
  Open();
  first_.set_script(Refuse(grpc::StatusCode::UNAVAILABLE));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Generate(std::string(4 << 20, 'a')).ok());
  EXPECT_GT(first_.calls, 0);
}

TEST_F(ServerChannelTest, WhatAllRefuseIsRefusedWithTheTimeToComeAgain) {
  Open();
  SetBothScripts(Refuse(grpc::StatusCode::RESOURCE_EXHAUSTED));
  const grpc::Status status = Generate();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "not now");
  EXPECT_EQ(first_.calls + second_.calls, 3);
  const auto& metadata = context_->GetServerTrailingMetadata();
  const auto retry_after = metadata.find("retry-after");
  ASSERT_NE(retry_after, metadata.end());
  EXPECT_EQ(retry_after->second, "7");
}

TEST_F(ServerChannelTest, AStormOfRefusalsIsNotTripled) {
  Open();
  SetBothScripts(Refuse(grpc::StatusCode::RESOURCE_EXHAUSTED));
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(Generate().ok());
  EXPECT_LT(first_.calls + second_.calls, 1600);
}

TEST_F(ServerChannelTest, MistakesOfTheClientAreNotTriedAgain) {
  Open();
  SetBothScripts(Refuse(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_EQ(Generate().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(first_.calls + second_.calls, 1);
}

TEST_F(ServerChannelTest, WhatHasBegunIsNotTriedAgain) {
  Open();
  SetBothScripts(
      [](grpc::ServerContext&, const v1::GenerateRequest&, FakeInference::Writer& writer) {
        writer.Write(FakeInference::Delta(0, "Hel"));
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost");
      });
  EXPECT_EQ(Generate().error_message(), "lost");
  EXPECT_EQ(num_events_, 1);
  EXPECT_EQ(first_.calls + second_.calls, 1);
}

}  // namespace
}  // namespace tidal
