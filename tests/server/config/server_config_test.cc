#include "server/config/server_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "server/config/byte_size.h"
#include "server/config/port_check.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;

ServerConfig GoodConfig() {
  ServerConfig config;
  config.model.engine.model_path = "models/tidal-nano";
  config.model.served_model_names = {"tidal-nano"};
  return config;
}

struct BadConfig {
  const char* name;
  std::function<void(ServerConfig*)> break_it;
  const char* message;
};
class BadConfigTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigTest, IsRefusedWithTheFlagsName) {
  ServerConfig config = GoodConfig();
  ASSERT_TRUE(config.Validate().ok()) << config.Validate();
  GetParam().break_it(&config);
  const absl::Status status = config.Validate();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

using C = ServerConfig;
const BadConfig kBadConfigs[] = {
    {"Model", [](C* c) { c->model.engine.model_path = "no/such"; },
     "model: must be a model folder, got no/such"},
    {"Name",
     [](C* c) {
       c->model.served_model_names = {"a", ""};
     },
     "served_model_name: must be"},
    {"Device", [](C* c) { c->model.backend.device = "tpu"; },
     "device: must be auto, cpu or cuda, got tpu"},
    {"Threads", [](C* c) { c->model.backend.num_threads = -1; },
     "num_threads: must be in [0, 1024], got -1"},
    {"Length", [](C* c) { c->model.engine.max_model_len = 1; }, "max_model_len: must be 0"},
    {"Seqs", [](C* c) { c->model.engine.max_num_seqs = 0; }, "max_num_seqs: must be in"},
    {"Tokens", [](C* c) { c->model.engine.max_num_batched_tokens = 8; },
     "max_num_batched_tokens: must be at least max_num_seqs"},
    {"Block", [](C* c) { c->model.engine.block_size = 17; }, "block_size: must be 16, 32 or 64"},
    {"Kv", [](C* c) { c->model.engine.kv_cache_bytes = -1; }, "kv_cache_bytes: must be 0 or more"},
    {"Memory", [](C* c) { c->model.engine.memory_utilization = 1.5; },
     "gpu_memory_utilization: must be in (0, 1], got 1.5"},
    {"MaxBudget", [](C* c) { c->model.engine.max_token_budget = -1; }, "max_token_budget: must be"},
    {"Queue", [](C* c) { c->model.max_queued_requests = 0; }, "max_queued_requests: must be"},
    {"QueueTokens", [](C* c) { c->model.max_queued_tokens = -1; }, "max_queued_tokens: must be"},
    {"QueueTime", [](C* c) { c->model.max_queue_time = -absl::Seconds(1); },
     "max_queue_time: must be"},
    {"Budget", [](C* c) { c->model.token_budget = 0; }, "token_budget: must be"},
    {"Correction", [](C* c) { c->model.correction_period = -2; }, "correction_period: must be"},
    {"Host", [](C* c) { c->host = ""; }, "host: must be"},
    {"HttpPort", [](C* c) { c->http_port = 65536; }, "http_port: must be in [0, 65535], got 65536"},
    {"GrpcPort", [](C* c) { c->grpc_port = -1; }, "grpc_port: must be in [0, 65535], got -1"},
    {"SamePort", [](C* c) { c->grpc_port = c->http_port; }, "grpc_port: must be another"},
    {"Tls", [](C* c) { c->doors.tls.cert_file = "cert.pem"; }, "tls_key_file: must be given"},
    {"ClientCa", [](C* c) { c->doors.tls.client_ca_file = "ca.pem"; },
     "tls_client_ca_file: must be given together with tls_cert_file"},
    {"HealthPort", [](C* c) { c->doors.health_port = -1; }, "health_port: must be in [0, 65535]"},
    {"SameHealthPort", [](C* c) { c->doors.health_port = c->grpc_port; },
     "health_port: must be another than http_port and grpc_port"},
    {"Origin",
     [](C* c) {
       c->doors.allowed_origins = {"https://a", "example.com"};
     },
     "allowed_origins: must be * or origins"},
    {"OriginWithPath", [](C* c) { c->doors.allowed_origins = {"https://a/"}; },
     "allowed_origins: must be * or origins"},
    {"OriginPattern", [](C* c) { c->doors.allowed_origins = {"https://*.a"}; },
     "allowed_origins: must be * or origins"},
    {"RootPath", [](C* c) { c->doors.root_path = "llm"; }, "root_path: must begin with /"},
    {"RootPathSlash", [](C* c) { c->doors.root_path = "/llm/"; }, "root_path: must begin with /"},
    {"Connections", [](C* c) { c->doors.http.max_connections = 0; }, "max_connections: must be in"},
    {"HeaderBytes", [](C* c) { c->doors.http.max_header_bytes = 10; }, "max_header_bytes: must be"},
    {"HeldBytes", [](C* c) { c->doors.http.max_held_request_bytes = 10; },
     "max_held_request_bytes: must be in"},
    {"IdleTimeout", [](C* c) { c->doors.http.http_idle_timeout = absl::ZeroDuration(); },
     "http_idle_timeout: must be more than 0"},
    {"HeaderTimeout", [](C* c) { c->doors.http.http_header_timeout = absl::ZeroDuration(); },
     "http_header_timeout: must be more than 0"},
    {"BodyTimeout", [](C* c) { c->doors.http.http_body_timeout = absl::ZeroDuration(); },
     "http_body_timeout: must be more than 0"},
    {"WriteTimeout", [](C* c) { c->doors.http.http_write_timeout = absl::Seconds(-1); },
     "http_write_timeout: must be more than 0, got -1s"},
    {"RequestBytes", [](C* c) { c->max_request_bytes = 10; }, "max_request_bytes: must be"},
    {"Shutdown", [](C* c) { c->shutdown_timeout = absl::Seconds(-1); },
     "shutdown_timeout: must be"},
    {"ConnectionAge", [](C* c) { c->grpc_max_connection_age = absl::Hours(25); },
     "grpc_max_connection_age: must be in [0, 24h]"},
    {"Stall", [](C* c) { c->watchdog_timeout = absl::ZeroDuration(); },
     "watchdog_timeout: must be"},
};
INSTANTIATE_TEST_SUITE_P(Flags, BadConfigTest, ::testing::ValuesIn(kBadConfigs),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(ServerConfigTest, DefaultModelIsFoundFromHere) {
  EXPECT_EQ(*FindDefaultModel(), "models/tidal-nano");
}

TEST(ServerConfigTest, ModelNameIsTheLastPartOfThePath) {
  EXPECT_EQ(ModelNameOf("models/tidal-nano"), "tidal-nano");
  EXPECT_EQ(ModelNameOf("models/tidal-nano/"), "tidal-nano");
  EXPECT_EQ(ModelNameOf("models/../models/tidal-nano/."), "tidal-nano");
}

TEST(ByteSizeTest, ReadsUnits) {
  EXPECT_EQ(ParseByteSize("0")->bytes, 0);
  EXPECT_EQ(ParseByteSize("1073741824")->bytes, 1LL << 30);
  EXPECT_EQ(ParseByteSize("512MiB")->bytes, 512LL << 20);
  EXPECT_EQ(ParseByteSize("4GiB")->bytes, 4LL << 30);
  EXPECT_EQ(ParseByteSize("1.5 KiB")->bytes, 1536);
  EXPECT_EQ(ParseByteSize("2MB")->bytes, 2'000'000);
  EXPECT_EQ(ParseByteSize("7B")->bytes, 7);
}

TEST(ByteSizeTest, RefusesTheRest) {
  for (const char* text : {"", "GiB", "-1", "1 gib", "4G", "1..2MiB", "99999999999TiB", "0x10"}) {
    EXPECT_FALSE(ParseByteSize(text).ok()) << text;
  }
}

TEST(ByteSizeTest, FlagsSurviveARoundTrip) {
  for (const int64_t bytes : {0LL, 1LL, 1536LL, 512LL << 20, 4LL << 30, 1000000LL}) {
    ByteSize size;
    std::string error;
    ASSERT_TRUE(AbslParseFlag(AbslUnparseFlag({bytes}), &size, &error)) << error;
    EXPECT_EQ(size.bytes, bytes);
  }
  EXPECT_EQ(FormatByteSize({512LL << 20}), "512MiB");
}

TEST(PortCheckTest, SaysWhyAnAddressCannotBeUsed) {
  EXPECT_TRUE(CheckPortIsFree("http_port", "127.0.0.1", 0).ok());
  EXPECT_THAT(std::string(CheckPortIsFree("http_port", "no such host", 0).message()),
              HasSubstr("host: must be an address of this machine, got no such host"));
  EXPECT_THAT(std::string(CheckPortIsFree("http_port", "192.0.2.1", 8000).message()),
              HasSubstr("http_port: must be a free port, got 192.0.2.1:8000 ("));
}

}  // namespace
}  // namespace tidal
