#include "server/config/server_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/flags/reflection.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Sets flags as the command line does; all are back as they were after each test.
class ServerFlagsTest : public ::testing::Test {
 protected:
  static void Set(const std::vector<std::pair<std::string, std::string>>& flags) {
    for (const auto& [name, value] : flags) {
      absl::CommandLineFlag* flag = absl::FindCommandLineFlag(name);
      ASSERT_NE(flag, nullptr) << name;
      std::string error;
      ASSERT_TRUE(flag->ParseFrom(value, &error)) << name << ": " << error;
    }
  }

 private:
  absl::FlagSaver saver_;
};

TEST_F(ServerFlagsTest, DefaultsServeTheModelThatCameAlong) {
  const auto config = ServerConfigFromFlags();
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->model.engine.model_path, "models/tidal-nano");
  EXPECT_THAT(config->model.served_model_names, ElementsAre("tidal-nano"));
  EXPECT_EQ(config->host, "127.0.0.1");
  EXPECT_EQ(config->http_port, 8000);
  EXPECT_EQ(config->grpc_port, 50051);
  EXPECT_EQ(config->shutdown_timeout, absl::Seconds(30));
  EXPECT_EQ(config->model.engine.kv_cache_bytes, 0);
  EXPECT_EQ(config->model.backend.device, "auto");
  EXPECT_EQ(config->model.default_attention_mode, AttentionMode::kTidal);
  EXPECT_FALSE(config->model.token_budget.has_value());
  EXPECT_FALSE(config->model.correction_period.has_value());
  EXPECT_TRUE(config->doors.api_keys.empty());
}

TEST_F(ServerFlagsTest, EveryFlagArrives) {
  Set({{"model", "./models/tidal-nano"},
       {"served_model_name", "a,b"},
       {"device", "cpu"},
       {"cuda_device", "1"},
       {"cuda_graphs", "false"},
       {"load_format", "dummy"},
       {"gpu_memory_utilization", "0.5"},
       {"num_threads", "3"},
       {"max_model_len", "1000"},
       {"max_num_seqs", "7"},
       {"max_num_batched_tokens", "99"},
       {"block_size", "32"},
       {"kv_cache_bytes", "64MiB"},
       {"enable_prefix_caching", "false"},
       {"overlap", "false"},
       {"max_queued_requests", "5"},
       {"max_queued_tokens", "7000"},
       {"max_queue_time", "8s"},
       {"attention_mode", "full"},
       {"attention_profile", "paper"},
       {"token_budget", "128"},
       {"max_token_budget", "512"},
       {"correction_period", "0"},
       {"host", "0.0.0.0"},
       {"http_port", "1"},
       {"grpc_port", "2"},
       {"api_key", "k1,k2"},
       {"max_request_bytes", "1MiB"},
       {"grpc_max_connection_age", "1m"},
       {"shutdown_timeout", "2m"},
       {"watchdog_timeout", "9s"},
       {"unready_when_saturated", "false"},
       {"tls_cert_file", "c"},
       {"tls_key_file", "k"},
       {"tls_client_ca_file", "a"},
       {"api_key_file", "f"},
       {"health_port", "3"},
       {"allowed_origins", "https://a,https://b"},
       {"root_path", "/llm"},
       {"enable_force_include_usage", "true"},
       {"return_tokens_as_token_ids", "true"},
       {"enable_tokenizer_info_endpoint", "true"},
       {"max_connections", "11"},
       {"max_header_bytes", "8KiB"},
       {"max_held_request_bytes", "32MiB"},
       {"http_idle_timeout", "12s"},
       {"http_header_timeout", "13s"},
       {"http_body_timeout", "14s"},
       {"http_write_timeout", "15s"},
       {"prefix_cache_scope", "server"},
       {"log_level", "warning"},
       {"log_format", "json"},
       {"chat_template", "{{ x }}"}});
  const auto config = ServerConfigFromFlags();
  ASSERT_TRUE(config.ok()) << config.status();
  const ModelOptions& model = config->model;
  EXPECT_EQ(model.engine.model_path, "./models/tidal-nano");
  EXPECT_THAT(model.served_model_names, ElementsAre("a", "b"));
  EXPECT_EQ(model.chat_template, "{{ x }}");
  EXPECT_EQ(model.backend.device, "cpu");
  EXPECT_EQ(model.backend.cuda_device, 1);
  EXPECT_FALSE(model.backend.cuda_graphs);
  EXPECT_EQ(model.engine.load_format, LoadFormat::kDummy);
  EXPECT_EQ(model.engine.memory_utilization, 0.5);
  EXPECT_EQ(model.backend.num_threads, 3);
  EXPECT_EQ(model.engine.max_model_len, 1000);
  EXPECT_EQ(model.engine.max_num_seqs, 7);
  EXPECT_EQ(model.engine.max_num_batched_tokens, 99);
  EXPECT_EQ(model.engine.block_size, 32);
  EXPECT_EQ(model.engine.kv_cache_bytes, 64 << 20);
  EXPECT_FALSE(model.enable_prefix_caching);
  EXPECT_FALSE(model.overlap);
  EXPECT_EQ(model.max_queued_requests, 5);
  EXPECT_EQ(model.max_queued_tokens, 7000);
  EXPECT_EQ(model.max_queue_time, absl::Seconds(8));
  EXPECT_EQ(model.default_attention_mode, AttentionMode::kFull);
  EXPECT_EQ(model.engine.attention_profile, "paper");
  EXPECT_EQ(model.token_budget, 128);
  EXPECT_EQ(model.engine.max_token_budget, 512);
  EXPECT_EQ(model.correction_period, 0);
  EXPECT_EQ(config->host, "0.0.0.0");
  EXPECT_EQ(config->http_port, 1);
  EXPECT_EQ(config->grpc_port, 2);
  EXPECT_THAT(config->doors.api_keys, ElementsAre("k1", "k2"));
  EXPECT_EQ(config->max_request_bytes, 1 << 20);
  EXPECT_EQ(config->grpc_max_connection_age, absl::Minutes(1));
  EXPECT_EQ(config->shutdown_timeout, absl::Minutes(2));
  EXPECT_EQ(config->watchdog_timeout, absl::Seconds(9));
  EXPECT_FALSE(config->unready_when_saturated);
  EXPECT_EQ(config->doors.tls.cert_file, "c");
  EXPECT_EQ(config->doors.tls.key_file, "k");
  EXPECT_EQ(config->doors.tls.client_ca_file, "a");
  EXPECT_EQ(config->doors.api_key_file, "f");
  EXPECT_EQ(config->doors.health_port, 3);
  EXPECT_THAT(config->doors.allowed_origins, ElementsAre("https://a", "https://b"));
  EXPECT_EQ(config->doors.root_path, "/llm");
  EXPECT_TRUE(config->doors.enable_force_include_usage);
  EXPECT_TRUE(config->doors.return_tokens_as_token_ids);
  EXPECT_TRUE(model.enable_tokenizer_info_endpoint);
  EXPECT_EQ(config->doors.http.max_connections, 11);
  EXPECT_EQ(config->doors.http.max_header_bytes, 8 << 10);
  EXPECT_EQ(config->doors.http.max_held_request_bytes, 32 << 20);
  EXPECT_EQ(config->doors.http.http_idle_timeout, absl::Seconds(12));
  EXPECT_EQ(config->doors.http.http_header_timeout, absl::Seconds(13));
  EXPECT_EQ(config->doors.http.http_body_timeout, absl::Seconds(14));
  EXPECT_EQ(config->doors.http.http_write_timeout, absl::Seconds(15));
  EXPECT_EQ(model.prefix_cache_scope, PrefixCacheScope::kServer);
  EXPECT_EQ(config->log_level, LogLevel::kWarning);
  EXPECT_EQ(config->log_format, LogFormat::kJson);
}

TEST_F(ServerFlagsTest, BadValuesNameTheFlag) {
  const std::vector<std::vector<std::string>> cases = {
      {"attention_mode", "sparse", "attention_mode: must be auto or full, got sparse"},
      {"token_budget", "-1", "token_budget: must be 0 (the model's) or more, got -1"},
      {"correction_period", "-2", "correction_period: must be -1"},
      {"prefix_cache_scope", "all", "prefix_cache_scope: must be tenant or server, got all"},
      {"log_level", "loud", "log_level: must be debug, info, warning or error, got loud"},
      {"log_format", "xml", "log_format: must be text or json, got xml"},
      {"served_model_name", "a,,b", "served_model_name: must be"},
      {"model", "no/such", "model: must be a model folder, got no/such"},
  };
  for (const auto& test : cases) {
    absl::FlagSaver saver;
    Set({{test[0], test[1]}});
    const auto config = ServerConfigFromFlags();
    ASSERT_FALSE(config.ok()) << test[0];
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(test[2]));
  }
}

}  // namespace
}  // namespace tidal
