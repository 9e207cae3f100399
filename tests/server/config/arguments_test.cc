#include "server/config/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"

ABSL_DECLARE_FLAG(std::vector<std::string>, flagfile);

namespace tidal {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

// Abseil's own flags come with its parser, which a program has.
const bool kParserIsLinked = absl::GetFlag(FLAGS_flagfile).empty();

// The flags are those of tidal-server.
absl::StatusOr<Arguments> Read(std::vector<std::string> arguments,
                               const std::string& positional = "model") {
  arguments.insert(arguments.begin(), "program");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  return ReadArguments(static_cast<int>(argv.size()), argv.data(), positional);
}

// What they become, without the program's name.
std::vector<std::string> List(const std::vector<std::string>& arguments,
                              const std::string& positional = "model") {
  auto read = Read(arguments, positional);
  EXPECT_TRUE(read.ok()) << read.status();
  if (!read.ok()) return {};
  read->list.erase(read->list.begin());
  return read->list;
}

std::string Refusal(const std::vector<std::string>& arguments) {
  const absl::Status status = Read(arguments).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

TEST(ArgumentsTest, OneFlagInEverySpelling) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--max_num_seqs=8"}, "--max_num_seqs=8"},
      {{"--max-num-seqs=8"}, "--max_num_seqs=8"},
      {{"-max-num_seqs", "8"}, "--max_num_seqs=8"},
      {{"--served-model-name=a-b,c_d"}, "--served_model_name=a-b,c_d"},
      {{"--host", "--"}, "--host=--"},
      {{"--chat-template", "-x=y"}, "--chat_template=-x=y"},
      {{"--overlap"}, "--overlap=true"},
      {{"--overlap=no"}, "--overlap=false"},
      {{"--nooverlap"}, "--overlap=false"},
      {{"--no-overlap"}, "--overlap=false"},
      {{"--no-enable-prefix-caching"}, "--enable_prefix_caching=false"},
      {{"--noenable_prefix_caching"}, "--enable_prefix_caching=false"},
  };
  for (const auto& [arguments, expected] : cases) {
    EXPECT_THAT(List(arguments), ElementsAre(expected, "--")) << expected;
  }
}

TEST(ArgumentsTest, VllmsNames) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--port", "9000"}, "--http_port=9000"},
      {{"--ssl-certfile=c.pem"}, "--tls_cert_file=c.pem"},
      {{"--ssl-keyfile=k.pem"}, "--tls_key_file=k.pem"},
      {{"--ssl-ca-certs=a.pem"}, "--tls_client_ca_file=a.pem"},
      {{"--kv-cache-memory-bytes=1024"}, "--kv_cache_bytes=1024"},
      {{"--async-scheduling"}, "--overlap=true"},
      {{"--no-async-scheduling"}, "--overlap=false"},
      {{"--enforce-eager"}, "--cuda_graphs=false"},
      {{"--no-enforce-eager"}, "--cuda_graphs=true"},
      {{"--enforce_eager=false"}, "--cuda_graphs=true"},
  };
  for (const auto& [arguments, expected] : cases) {
    EXPECT_THAT(List(arguments), ElementsAre(expected, "--")) << expected;
  }
}

TEST(ArgumentsTest, WhatHoldsAnywaySetsNothing) {
  EXPECT_THAT(List({"--disable-log-requests", "--no-enable-log-requests",
                    "--enable-chunked-prefill", "--trust-remote-code", "--pipeline-parallel-size",
                    "1", "-dp=1", "--dtype", "bfloat16", "--dtype=auto", "--cpu-offload-gb=0"}),
              ElementsAre("--"));
}

TEST(ArgumentsTest, WhatCannotBeSaysWhatToDo) {
  EXPECT_EQ(Refusal({"--pipeline-parallel-size", "2"}),
            "pipeline_parallel_size: must be 1, got 2; GPUs share a model out by "
            "--tensor_parallel_size; start a server for each copy of it, behind tidal-gateway");
  EXPECT_THAT(Refusal({"--dtype=float16"}),
              AllOf(HasSubstr("dtype: must be auto or bfloat16, got float16; "),
                    HasSubstr("bfloat16, whatever the files have")));
  EXPECT_EQ(Refusal({"-q", "fp8"}), "q: must be absent; quantized weights are not supported");
  EXPECT_THAT(Refusal({"--no-enable-chunked-prefill"}),
              HasSubstr("enable_chunked_prefill: must be true, got false; long prompts always"));
  EXPECT_THAT(Refusal({"--enable-lora"}), HasSubstr("enable_lora: must be false, got true; "));
  EXPECT_EQ(Refusal({"--enable-lora=x"}), "enable_lora: must be true or false, got x");
  EXPECT_EQ(Refusal({"--overlap=x"}), "overlap: must be true or false, got x");
  EXPECT_EQ(Refusal({"--max-num-seq=3"}), "unknown flag --max-num-seq; did you mean max_num_seqs?");
  EXPECT_EQ(Refusal({"--nohost"}), "unknown flag --nohost; did you mean host?");
  EXPECT_EQ(Refusal({"--zzzzzzzzzz"}), "unknown flag --zzzzzzzzzz");
  EXPECT_EQ(Refusal({"--max-num-seqs"}), "--max-num-seqs: must have a value");
}

TEST(ArgumentsTest, TheModelMayStandAlone) {
  const std::vector<std::vector<std::string>> cases = {{"serve", "folder", "--port=1"},
                                                       {"folder", "--port=1"},
                                                       {"--port=1", "folder"},
                                                       {"serve", "--port=1", "folder"},
                                                       {"--port", "1", "--", "folder"}};
  for (const auto& arguments : cases) {
    EXPECT_THAT(List(arguments), ElementsAre("--http_port=1", "--model=folder", "--"));
  }
  EXPECT_THAT(List({"serve", "--port=1"}), ElementsAre("--http_port=1", "--"));
  EXPECT_THAT(List({"a", "b"}), ElementsAre("--model=a", "--", "b"));
  EXPECT_THAT(List({"serve", "a"}, ""), ElementsAre("--", "serve", "a"));
  EXPECT_THAT(Refusal({"serve", "a", "--model=b"}), HasSubstr("model: must be given once"));
}

TEST(ArgumentsTest, HelpAndLeaveForUnknownFlagsAreAbseils) {
  EXPECT_THAT(List({"--help", "--helpfull", "-h", "--version", "--helpmatch=x"}),
              ElementsAre("--help", "--helpfull", "--help", "--version", "--helpmatch=x", "--"));
  EXPECT_THAT(List({"--undefok=zzz", "--zzz=1"}), ElementsAre("--undefok=zzz", "--zzz=1", "--"));
}

class FlagFileTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  std::string Write(const std::string& text) const {
    std::ofstream(path_) << text;
    return path_;
  }
  const std::string path_ = ::testing::TempDir() + "tidal_flag_file_" +
                            ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(FlagFileTest, LinesAreFlagsInEverySpelling) {
  const std::string path = Write(
      "# mine\n\n  --max-num-seqs=8  \r\n--port 9\n--no-overlap\n--chat_template=a b=c\n"
      "--disable-log-requests");
  const auto read = Read({"--host=::", "--flagfile", path, "--port=10"});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(read->list, ElementsAreArray({"program", "--host=::", "--max_num_seqs=8",
                                            "--http_port=9", "--overlap=false",
                                            "--chat_template=a b=c", "--http_port=10", "--"}));
  EXPECT_EQ(read->sources.at("max_num_seqs"), "flagfile");
  EXPECT_EQ(read->sources.at("host"), "command line");
  EXPECT_EQ(read->sources.at("http_port"), "command line");
}

TEST_F(FlagFileTest, MistakesNameFileAndLine) {
  EXPECT_EQ(Refusal({"--flagfile=" + Write("#\n--max-num-seq=1\n")}),
            "flagfile: " + path_ + ":2: unknown flag --max-num-seq; did you mean max_num_seqs?");
  EXPECT_THAT(Refusal({"--flagfile=" + Write("max_num_seqs: 1\n")}),
              HasSubstr(":1: must be a flag, --name=value"));
  EXPECT_THAT(Refusal({"--flagfile=" + Write("--\n")}), HasSubstr(":1: must be a flag"));
  EXPECT_THAT(Refusal({"--flagfile=" + Write("--overlap false\n")}),
              HasSubstr(":1: must be a switch alone or with =value"));
  EXPECT_THAT(Refusal({"--flagfile=" + Write("--dtype=half\n")}), HasSubstr(":1: dtype: must be"));
  EXPECT_THAT(Refusal({"--flagfile=no/such"}),
              HasSubstr("flagfile: no/such: cannot be read: No such file"));
  EXPECT_THAT(Refusal({"--flagfile=" + Write("--flagfile=" + path_ + "\n")}),
              HasSubstr("flagfile: must be at most 100 files"));
}

}  // namespace
}  // namespace tidal
