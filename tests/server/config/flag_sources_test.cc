#include "server/config/flag_sources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/reflection.h"
#include "server/config/byte_size.h"
#include "server/config/server_flags.h"

namespace tidal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// The flags are those of tidal-server; all are back as they were after each test.
class FlagSourcesTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }

  std::string Write(const std::string& text) const {
    std::ofstream(path_) << text;
    return path_;
  }
  static std::string Value(const std::string& flag) { return OurFlags().at(flag)->CurrentValue(); }

  FlagSources sources_;

 private:
  const absl::FlagSaver saver_;
  // One for each test: they run beside each other.
  const std::string path_ = ::testing::TempDir() + "tidal_flag_sources_" +
                            ::testing::UnitTest::GetInstance()->current_test_info()->name() +
                            ".yaml";
};

TEST_F(FlagSourcesTest, FilesSetFlagsOfEveryKind) {
  const absl::Status status =
      sources_.SetFromFile(Write("served_model_name: [a, b]\n"
                                 "api_key: one,two\n"
                                 "max_num_seqs: 8\n"
                                 "gpu_memory_utilization: 0.5\n"
                                 "enable_prefix_caching: no\n"
                                 "kv_cache_bytes: 64MiB\n"
                                 "shutdown_timeout: 1m30s\n"
                                 "chat_template: |\n"
                                 "  {{ x }}\n"));
  ASSERT_TRUE(status.ok()) << status;
  const auto config = ServerConfigFromFlags();
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->model.served_model_names, ElementsAre("a", "b"));
  EXPECT_THAT(config->doors.api_keys, ElementsAre("one", "two"));
  EXPECT_EQ(config->model.engine.max_num_seqs, 8);
  EXPECT_EQ(config->model.engine.memory_utilization, 0.5);
  EXPECT_FALSE(config->model.enable_prefix_caching);
  EXPECT_EQ(config->model.engine.kv_cache_bytes, 64 << 20);
  EXPECT_EQ(config->shutdown_timeout, absl::Seconds(90));
  EXPECT_EQ(config->model.chat_template, "{{ x }}\n");
}

TEST_F(FlagSourcesTest, KeysAreSpeltAsOnTheCommandLine) {
  const std::string path = Write(
      "max-num-seqs: 8\nport: 9000\nenforce-eager: true\nno-enable-prefix-caching: true\n"
      "served-model-name: [a, b]\ndisable-log-requests: true\ntensor-parallel-size: 1\n");
  const absl::Status status = sources_.SetFromFile(path);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Value("max_num_seqs"), "8");
  EXPECT_EQ(Value("http_port"), "9000");
  EXPECT_EQ(Value("cuda_graphs"), "false");
  EXPECT_EQ(Value("enable_prefix_caching"), "false");
  EXPECT_EQ(Value("served_model_name"), "a,b");
  const std::string yaml = sources_.ToYaml();
  EXPECT_THAT(yaml, HasSubstr("\nhttp_port: 9000  # " + path + ":2\n"));
  EXPECT_THAT(yaml, HasSubstr("\nmax_num_seqs: 8  # " + path + ":1\n"));
}

TEST_F(FlagSourcesTest, MistakesInAFileNameLineAndFlag) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"host: a\nmax_num_seq: 8\n", ":2: unknown key max_num_seq; did you mean max_num_seqs?"},
      {"zzzzzzzzzz: 8\n", ":1: unknown key zzzzzzzzzz"},
      {"flagfile: x\n", ":1: unknown key flagfile"},
      {"config: x.yaml\n", ":1: unknown key config"},
      {"print_config: true\n", ":1: unknown key print_config"},
      {"max_num_seqs: many\n", ":1: max_num_seqs: must be a whole number of 32 bits, got many"},
      {"max_num_seqs: 5000000000\n", "must be a whole number of 32 bits, got 5000000000"},
      {"overlap: perhaps\n", ":1: overlap: must be true or false, got perhaps"},
      {"gpu_memory_utilization: most\n", "gpu_memory_utilization: must be a number, got most"},
      {"kv_cache_bytes: 4 gigs\n", "kv_cache_bytes: must be a number of bytes, such as"},
      {"shutdown_timeout: 30\n", "shutdown_timeout: must be a duration, such as 500ms, 30s or 2m"},
      {"host: [a, b]\n", ":1: host: must be one value, got a list"},
      {"api_key: ['a,b']\n", ":1: api_key: must be a list of values without commas"},
      {"max-num-seq: 8\n", ":1: unknown key max-num-seq; did you mean max_num_seqs?"},
      {"print-config: true\n", ":1: unknown key print-config"},
      {"undefok: x\n", ":1: unknown key undefok"},
      {"port: 1\nhttp-port: 2\n", ":2: http-port: is already on line 1"},
      {"max-num-seqs: many\n", ":1: max-num-seqs: must be a whole number of 32 bits, got many"},
      {"pipeline-parallel-size: 2\n", ":1: pipeline_parallel_size: must be 1, got 2; GPUs share"},
      {"dtype: [auto]\n", ":1: dtype: must be one value, got a list"},
      {"host: {a: b}\n", ":1: host: must be a value or a list, got a mapping"},
  };
  for (const auto& [text, message] : cases) {
    const absl::Status status = sources_.SetFromFile(Write(text));
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
}

TEST_F(FlagSourcesTest, VariablesSetFlags) {
  const absl::Status status = sources_.SetFromVariables({{"TIDAL_MAX_NUM_SEQS", "9"},
                                                         {"TIDAL_SERVED_MODEL_NAME", "a,b"},
                                                         {"TIDAL_OVERLAP", "false"},
                                                         {"TIDAL_HOST", ""},
                                                         {"TIDAL_NO_FLAG", "x"},
                                                         {"TIDAL_GRPC_PORT", "tcp://10.0.0.1:80"}});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Value("max_num_seqs"), "9");
  EXPECT_EQ(Value("served_model_name"), "a,b");
  EXPECT_EQ(Value("overlap"), "false");
  EXPECT_EQ(Value("host"), "127.0.0.1") << "an empty variable is none";
  EXPECT_EQ(Value("grpc_port"), "50051") << "a variable of Kubernetes is not ours";
}

TEST_F(FlagSourcesTest, MistakesInAVariableNameIt) {
  EXPECT_EQ(sources_.SetFromVariables({{"TIDAL_BLOCK_SIZE", "big"}}).message(),
            "TIDAL_BLOCK_SIZE: must be a whole number of 32 bits, got big");
}

TEST_F(FlagSourcesTest, UnknownVariablesAreTold) {
  EXPECT_THAT(
      UnknownVariables({{"TIDAL_BLOCKSIZE", "16"},
                        {"TIDAL_HOST", "::"},
                        {"TIDAL_SOMETHING_ELSE", ""},
                        // What Kubernetes makes of services called tidal, tidal-http,
                        // tidal-server.
                        {"TIDAL_PORT", "tcp://10.0.0.1:8000"},
                        {"TIDAL_HTTP_PORT", "tcp://10.0.0.1:8000"},
                        {"TIDAL_SERVER_SERVICE_HOST", "10.0.0.1"},
                        {"TIDAL_SERVER_SERVICE_PORT", "8000"},
                        {"TIDAL_SERVER_SERVICE_PORT_HTTP", "8000"},
                        {"TIDAL_SERVER_PORT", "tcp://10.0.0.1:8000"},
                        {"TIDAL_SERVER_PORT_8000_TCP", "tcp://10.0.0.1:8000"},
                        {"TIDAL_SERVER_PORT_8000_TCP_PROTO", "tcp"},
                        {"TIDAL_SERVER_PORT_8000_TCP_PORT", "8000"},
                        {"TIDAL_SERVER_PORT_8000_TCP_ADDR", "10.0.0.1"}}),
      ElementsAre("TIDAL_BLOCKSIZE; did you mean TIDAL_BLOCK_SIZE?", "TIDAL_SOMETHING_ELSE"));
}

TEST_F(FlagSourcesTest, YamlSaysWhereEachValueComesFrom) {
  const std::string path = Write("# one\nmax_num_seqs: 8\napi_key: [secret]\n");
  ASSERT_TRUE(sources_.SetFromFile(path).ok());
  ASSERT_TRUE(sources_.SetFromVariables({{"TIDAL_CHAT_TEMPLATE", "a: b\n#c"}}).ok());
  sources_.RecordSource("host", "command line");
  const std::string yaml = sources_.ToYaml();
  EXPECT_THAT(yaml, HasSubstr("\nmax_num_seqs: 8  # " + path + ":2\n"));
  EXPECT_THAT(yaml, HasSubstr("\n# api_key: set, not shown  # " + path + ":3\n"));
  EXPECT_THAT(yaml, HasSubstr("\nchat_template: \"a: b\\n#c\"  # TIDAL_CHAT_TEMPLATE\n"));
  EXPECT_THAT(yaml, HasSubstr("\nhost: 127.0.0.1  # command line\n"));
  EXPECT_THAT(yaml, HasSubstr("\nblock_size: 16  # default\n"));
  EXPECT_THAT(yaml, Not(HasSubstr("secret")));
  EXPECT_THAT(yaml, Not(HasSubstr("print_config")));
}

TEST_F(FlagSourcesTest, YamlLoadsAgain) {
  const std::vector<std::pair<std::string, std::string>> odd = {
      {"chat_template", "{% if a %}\"'\\ \xc3\xbc # x: y\n\n - z\t{% endif %}"},
      {"served_model_name", "null,~, true"},
      {"model", "- [a"},
      {"device", "null"},
      {"attention_profile", "!x &y *z"},
      {"host", "::"},
      {"log_level", "it's"},
      {"gpu_memory_utilization", "0.1"},
      {"shutdown_timeout", "1m30.5s"}};
  for (const auto& [name, value] : odd) {
    std::string error;
    ASSERT_TRUE(OurFlags().at(name)->ParseFrom(value, &error)) << error;
  }
  const std::string yaml = sources_.ToYaml();
  for (const auto& [name, flag] : OurFlags()) {
    std::string error;
    ASSERT_TRUE(flag->ParseFrom(flag->DefaultValue(), &error)) << error;
  }
  const absl::Status status = sources_.SetFromFile(Write(yaml));
  ASSERT_TRUE(status.ok()) << status << "\n" << yaml;
  for (const auto& [name, value] : odd) EXPECT_EQ(Value(name), value);
}

}  // namespace
}  // namespace tidal
