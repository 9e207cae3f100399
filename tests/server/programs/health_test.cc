// What probes are told over real HTTP and gRPC while the model works, hangs, breaks or is stopped.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "proto/tidal/v1/inference.grpc.pb.h"
#include "server/gateway/gateway.h"
#include "server/grpc/grpc_server.h"
#include "server/observe/health_monitor.h"
#include "tests/server/generation/service_harness.h"
#include "tests/server/http/http_client.h"

namespace tidal {
namespace {

using grpc::health::v1::HealthCheckResponse;

constexpr absl::Duration kWatchdogTimeout = absl::Milliseconds(300);

// Lets steps pass, or holds them.
class Valve {
 public:
  void Set(bool open) {
    absl::MutexLock lock(&mutex_);
    open_ = open;
  }
  void Pass() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&open_));
  }

 private:
  absl::Mutex mutex_;
  bool open_ = true;
};

class HealthTest : public ::testing::Test {
 protected:
  void Start(HarnessOptions options = {}, absl::Duration watchdog_timeout = kWatchdogTimeout) {
    options.on_step = [this](const StepInput&) { valve_.Pass(); };
    harness_ = std::make_unique<ServiceHarness>(std::move(options));
    harness_->Say(std::string(50, '1'));
    auto grpc = GrpcServer::Start({}, &harness_->service());
    ASSERT_TRUE(grpc.ok()) << grpc.status();
    grpc_ = *std::move(grpc);
    HealthOptions health;
    health.watchdog_timeout = watchdog_timeout;
    health.on_look = [this](const Health& look) {
      grpc_->SetReady(look.ready);
      grpc_->SetAccepting(look.accepting);
      grpc_->SetLive(look.live);
      harness_->service().SetStalled(look.stalled);
      harness_->metrics().OnHealth(look);
    };
    monitor_ = std::make_unique<HealthMonitor>(&harness_->loop(), std::move(health));
    GatewayOptions http;
    http.is_started = [this] { return monitor_->health().started; };
    http.is_live = [this] { return monitor_->health().live; };
    auto gateway = Gateway::Start(std::move(http), grpc_->InProcessChannel());
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", grpc_->port()),
                                   grpc::InsecureChannelCredentials());
  }

  void TearDown() override {
    valve_.Set(true);
    gateway_->Stop(absl::ZeroDuration());
    monitor_.reset();
    grpc_->Stop(absl::ZeroDuration());
  }

  int Http(const std::string& path) { return Fetch(gateway_->port(), GetRequest(path)).status; }

  bool Grpc(const std::string& service) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    const auto stub = grpc::health::v1::Health::NewStub(channel_);
    EXPECT_TRUE(stub->Check(&context, request, &response).ok());
    return response.status() == HealthCheckResponse::SERVING;
  }

  // What every door says: the same, within a look or two.
  void Expect(bool started, bool live, bool ready) {
    for (int32_t i = 0; i < 200; ++i) {
      const Health health = monitor_->health();
      if (health.started == started && health.live == live && health.ready == ready) break;
      absl::SleepFor(absl::Milliseconds(10));
    }
    EXPECT_EQ(Http("/health/started"), started ? 200 : 503);
    EXPECT_EQ(Http("/health/live"), live ? 200 : 503);
    EXPECT_EQ(Http("/health/ready"), ready ? 200 : 503);
    EXPECT_EQ(Http("/health"), ready ? 200 : 503);
    EXPECT_EQ(Grpc("live"), live);
    EXPECT_EQ(Grpc(""), ready);
    EXPECT_EQ(Grpc("tidal.v1.Inference"), ready);
    EXPECT_EQ(Grpc("accepting"), ready) << "nothing here is saturated";
    const std::string labels = R"({engine="0",model_name="tidal-nano"})";
    EXPECT_EQ(harness_->Metric("tidal:live" + labels), live);
    EXPECT_EQ(harness_->Metric("tidal:ready" + labels), ready);
  }

  // How a request over gRPC ends.
  grpc::Status Generate() {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    auto stub = v1::Inference::NewStub(channel_);
    auto reader = stub->Generate(&context, harness_->MakeRequest());
    v1::GenerateResponse event;
    while (reader->Read(&event)) {
    }
    return reader->Finish();
  }
  // And over HTTP.
  HttpReply Complete() {
    return Fetch(gateway_->port(),
                 PostRequest("/v1/completions", R"({"prompt": [100, 101, 102], "n": 2})"));
  }

  void ExpectNothingLeft() {
    const LoopStats stats = harness_->loop().stats();
    EXPECT_EQ(stats.running + stats.waiting, 0);
    EXPECT_EQ(stats.free_blocks, stats.num_blocks);
  }

  Valve valve_;
  std::unique_ptr<ServiceHarness> harness_;
  std::unique_ptr<GrpcServer> grpc_;
  std::unique_ptr<HealthMonitor> monitor_;
  std::unique_ptr<Gateway> gateway_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(HealthTest, IsReadyOnceStartedAndNotWhileItDrains) {
  Start();
  Expect(/*started=*/false, /*live=*/true, /*ready=*/false);
  monitor_->SetStarted();
  Expect(true, true, true);
  EXPECT_TRUE(Generate().ok());
  monitor_->SetDraining();
  Expect(true, true, false);
}

TEST_F(HealthTest, AStepThatHangsIsSeenAndForgivenWhenItEnds) {
  Start();
  monitor_->SetStarted();
  valve_.Set(false);
  grpc::Status over_grpc;
  HttpReply over_http;
  std::thread grpc_client([&] { over_grpc = Generate(); });
  std::thread http_client([&] { over_http = Complete(); });
  Expect(true, false, false);
  EXPECT_GT(monitor_->health().step_age, kWatchdogTimeout);
  EXPECT_EQ(Generate().error_code(), grpc::StatusCode::UNAVAILABLE) << "new ones need not wait";
  const HttpReply refused = Complete();
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(absl::StrContains(refused.head, "Retry-After: 1"));
  valve_.Set(true);
  grpc_client.join();
  http_client.join();
  EXPECT_TRUE(over_grpc.ok()) << over_grpc.error_message();
  EXPECT_EQ(over_http.status, 200);
  Expect(true, true, true);
  harness_->WaitUntilIdle();
  ExpectNothingLeft();
}

TEST_F(HealthTest, ADeviceFaultEndsStreamsAndLiveness) {
  HarnessOptions options;
  options.fail_at_step = 5;
  Start(std::move(options));
  monitor_->SetStarted();
  Expect(true, true, true);
  EXPECT_EQ(Generate().error_code(), grpc::StatusCode::UNAVAILABLE);
  Expect(true, false, false);
  EXPECT_EQ(Complete().status, 503);
  EXPECT_EQ(Generate().error_code(), grpc::StatusCode::UNAVAILABLE);
  ExpectNothingLeft();
}

TEST_F(HealthTest, AStoppedEngineThreadEndsStreamsAndLiveness) {
  Start();
  monitor_->SetStarted();
  valve_.Set(false);
  grpc::Status over_grpc;
  HttpReply over_http;
  std::thread grpc_client([&] { over_grpc = Generate(); });
  std::thread http_client([&] { over_http = Complete(); });
  while (harness_->loop().stats().waiting < 3) absl::SleepFor(absl::Milliseconds(1));
  std::thread stopper([&] { harness_->loop().Stop(); });
  absl::SleepFor(absl::Milliseconds(20));
  valve_.Set(true);
  stopper.join();
  grpc_client.join();
  http_client.join();
  EXPECT_EQ(over_grpc.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(over_http.status, 503);
  Expect(true, false, false);
  ExpectNothingLeft();
}

TEST_F(HealthTest, AQueueThatStaysFullMakesItUnreadyAndSaysWhenToComeAgain) {
  HarnessOptions options;
  options.max_queued_requests = 2;
  Start(std::move(options), /*watchdog_timeout=*/absl::Hours(1));
  monitor_->SetStarted();
  valve_.Set(false);
  v1::GenerateRequest many = harness_->MakeRequest();
  many.set_n(40);
  std::shared_ptr<Generation> full = harness_->service().Start(many, {});
  while (harness_->loop().stats().waiting < 40) absl::SleepFor(absl::Milliseconds(1));
  HttpReply refused;
  while (monitor_->health().ready) {
    refused = Complete();
    EXPECT_EQ(refused.status, 429);
    absl::SleepFor(absl::Milliseconds(50));
  }
  EXPECT_TRUE(absl::StrContains(refused.head, "Retry-After: ")) << refused.head;
  grpc::ClientContext context;
  auto stub = v1::Inference::NewStub(channel_);
  auto reader = stub->Generate(&context, harness_->MakeRequest());
  v1::GenerateResponse event;
  while (reader->Read(&event)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(context.GetServerTrailingMetadata().count("retry-after"), 1);
  valve_.Set(true);
  while (!full->WaitNext().end.has_value()) {
  }
  Expect(true, true, true);
  ExpectNothingLeft();
}

}  // namespace
}  // namespace tidal
