#include "tools/bench/load_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nlohmann/json.hpp"
#include "tools/bench/load_options.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;

TEST(Percentiles, InterpolatesBetweenNeighbours) {
  const Percentiles four = PercentilesOf({4, 1, 3, 2});
  EXPECT_DOUBLE_EQ(four.mean, 2.5);
  EXPECT_DOUBLE_EQ(four.p50, 2.5);
  EXPECT_DOUBLE_EQ(four.p90, 3.7);
  const Percentiles one = PercentilesOf({7});
  EXPECT_DOUBLE_EQ(one.p50, 7);
  EXPECT_DOUBLE_EQ(one.p99, 7);
  EXPECT_DOUBLE_EQ(PercentilesOf({}).p99, 0);
}

RequestTrace Trace(double first_s, double last_s, int tokens) {
  RequestTrace trace;
  trace.start = absl::UnixEpoch();
  trace.first_token = trace.start + absl::Seconds(first_s);
  trace.last_token = trace.start + absl::Seconds(last_s);
  trace.num_tokens = tokens;
  return trace;
}

TEST(LoadReport, TimesAreOfCompletedRequestsAndTokensOfAll) {
  RequestTrace failed = Trace(9, 9, 1);
  failed.status = absl::UnavailableError("gone");
  const LoadReport report =
      MakeLoadReport({Trace(0.1, 1.1, 11), Trace(0.3, 0.3, 1), failed}, absl::Seconds(2));
  EXPECT_EQ(report.completed, 2);
  EXPECT_EQ(report.failed, 1);
  EXPECT_EQ(report.output_tokens, 13);
  EXPECT_THAT(report.first_error, HasSubstr("gone"));
  EXPECT_NEAR(report.ttft_ms.mean, 200, 1e-6);
  EXPECT_NEAR(report.tpot_ms.mean, 100, 1e-6) << "one token has no time per further token";
  EXPECT_NEAR(report.latency_ms.p50, 700, 1e-6);
  const auto json = nlohmann::json::parse(RenderJson(LoadOptions(), report));
  EXPECT_EQ(json["failed"], 1);
  EXPECT_DOUBLE_EQ(json["output_tokens_per_second"], 6.5);
  EXPECT_NEAR(json["ttft_ms"]["p50"], 200, 1e-6);
  EXPECT_THAT(RenderTable(LoadOptions(), report), HasSubstr("2 requests in 2.0 s over http"));
}

absl::StatusOr<LoadOptions> Parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "load");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  return ParseLoadOptions(static_cast<int>(argv.size()), argv.data());
}

TEST(LoadOptions, FlagsAndTheirFaults) {
  const auto options = Parse({"--target=h:1", "--api=grpc", "--request_rate=2.5",
                              "--token_budget=64", "--attention=tidal"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->target, "h:1");
  EXPECT_DOUBLE_EQ(options->request_rate, 2.5);
  EXPECT_EQ(options->token_budget, 64u);
  for (const char* bad : {"--concurrency=0", "--num_requests=x", "--api=soap", "--attention=fast",
                          "--request_rate=-1", "--target", "--unknown=1", "word"}) {
    const absl::Status status = Parse({bad}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_THAT(Parse({"--max_tokens=0"}).status().message(), HasSubstr("max_tokens: must be"));
  EXPECT_THAT(LoadUsage(), HasSubstr("--prompt_tokens"));
}

}  // namespace
}  // namespace tidal
