// The whole server on tidal-nano: start, warm-up, both doors, drain.
#include "server/programs/tidal_server.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "proto/grpc/health/v1/health.grpc.pb.h"
#include "proto/tidal/v1/inference.grpc.pb.h"

namespace tidal {
namespace {

using grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;
using ::testing::StartsWith;

ServerConfig SmallConfig() {
  ServerConfig config;
  config.http_port = 0;
  config.grpc_port = 0;
  config.model.served_model_names = {"tidal-nano"};
  config.model.engine.model_path = "models/tidal-nano";
  config.model.engine.max_model_len = 2048;
  config.model.engine.kv_cache_bytes = 32 << 20;
  config.model.engine.max_num_seqs = 8;
  config.model.engine.max_num_batched_tokens = 256;
  config.model.backend.num_threads = 1;
  return config;
}

class TidalServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = TidalServer::Start(SmallConfig());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->grpc_port()),
                                   grpc::InsecureChannelCredentials());
    stub_ = v1::Inference::NewStub(channel_);
  }

  HealthCheckResponse::ServingStatus Health() {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    HealthCheckResponse response;
    auto stub = grpc::health::v1::Health::NewStub(channel_);
    const grpc::Status status = stub->Check(&context, {}, &response);
    return status.ok() ? response.status() : HealthCheckResponse::UNKNOWN;
  }

  static v1::GenerateRequest MakeRequest(uint32_t max_tokens) {
    v1::GenerateRequest request;
    request.set_text("Once upon a time");
    request.mutable_stopping()->set_max_tokens(max_tokens);
    request.mutable_stopping()->set_ignore_eos(true);
    return request;
  }

  // The tokens generated, or -1 and the error in `status`.
  int Generate(const v1::GenerateRequest& request, grpc::Status* status) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    auto reader = stub_->Generate(&context, request);
    v1::GenerateResponse event;
    int tokens = -1;
    while (reader->Read(&event)) {
      if (event.has_usage()) tokens = static_cast<int>(event.usage().completion_tokens());
    }
    *status = reader->Finish();
    return tokens;
  }

  std::unique_ptr<TidalServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

TEST_F(TidalServerTest, AnswersOnceItHasStarted) {
  EXPECT_EQ(Health(), HealthCheckResponse::SERVING);
  EXPECT_GT(server_->http_port(), 0);
  grpc::Status status;
  EXPECT_EQ(Generate(MakeRequest(12), &status), 12) << status.error_message();
}

TEST_F(TidalServerTest, DrainFinishesWhatRunsAndRefusesTheRest) {
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, MakeRequest(300));
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));  // accepted
  bool finished = false;
  std::thread drain([&] { finished = server_->Shutdown(absl::Seconds(60)); });
  while (Health() == HealthCheckResponse::SERVING) std::this_thread::yield();
  grpc::Status refused;
  EXPECT_EQ(Generate(MakeRequest(1), &refused), -1);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  int tokens = 0;
  while (reader->Read(&event)) {
    if (event.has_usage()) tokens = static_cast<int>(event.usage().completion_tokens());
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(tokens, 300);
  drain.join();
  EXPECT_TRUE(finished);
}

TEST_F(TidalServerTest, DrainCancelsWhatDoesNotFinishInTime) {
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, MakeRequest(2000));
  v1::GenerateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_FALSE(server_->Shutdown(absl::ZeroDuration()));
  while (reader->Read(&event)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TidalServerTest, ASecondServerOnTheSamePortSaysSo) {
  ServerConfig config = SmallConfig();
  config.grpc_port = server_->grpc_port();
  const absl::Status status = TidalServer::Start(config).status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("grpc_port: must be a free port"));
}

TEST(TidalServerStartTest, TooLittleMemoryForOneSequenceIsAnError) {
  ServerConfig config = SmallConfig();
  config.model.engine.kv_cache_bytes = 1 << 20;
  const absl::Status status = TidalServer::Start(config).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("kv_cache_bytes: must be at least"));
}

TEST(TidalServerStartTest, MoreMemoryThanThereIsIsAnError) {
  ServerConfig config = SmallConfig();
  config.model.engine.kv_cache_bytes = int64_t{1} << 44;
  const absl::Status status = TidalServer::Start(config).status();
  EXPECT_THAT(std::string(status.message()), StartsWith("kv_cache_bytes: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("bytes do not fit into the memory of"));
}

TEST(TidalServerStartTest, ABudgetAboveTheLargestIsAnError) {
  ServerConfig config = SmallConfig();
  config.model.token_budget = 4096;
  const absl::Status status = TidalServer::Start(config).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("token_budget: must be at most"));
}

}  // namespace
}  // namespace tidal
