#include "server/observe/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;

constexpr char kLabels[] = R"({engine="0",model_name="nano"})";

std::string Source(const char* source) {
  return absl::StrCat(R"({engine="0",model_name="nano",source=")", source, "\"}");
}

MetricsOptions Options() {
  MetricsOptions options;
  options.model_name = "nano";
  options.block_size = 16;
  options.num_blocks = 99;
  options.max_model_len = 1000;
  return options;
}

TEST(MetricsTest, EveryNameIsThereFromTheStart) {
  const std::string text = Metrics(Options()).Render();
  for (const char* name : {
           "vllm:num_requests_running gauge",
           "vllm:num_requests_waiting gauge",
           "vllm:num_requests_waiting_by_reason gauge",
           "vllm:kv_cache_usage_perc gauge",
           "vllm:cache_config_info gauge",
           "vllm:prompt_tokens_total counter",
           "vllm:prompt_tokens_cached_total counter",
           "vllm:generation_tokens_total counter",
           "vllm:num_preemptions_total counter",
           "vllm:prefix_cache_queries_total counter",
           "vllm:prefix_cache_hits_total counter",
           "vllm:request_success_total counter",
           "vllm:time_to_first_token_seconds histogram",
           "vllm:inter_token_latency_seconds histogram",
           "vllm:request_time_per_output_token_seconds histogram",
           "vllm:e2e_request_latency_seconds histogram",
           "vllm:request_queue_time_seconds histogram",
           "vllm:request_prefill_time_seconds histogram",
           "vllm:request_decode_time_seconds histogram",
           "vllm:request_inference_time_seconds histogram",
           "vllm:request_prompt_tokens histogram",
           "vllm:request_generation_tokens histogram",
           "vllm:request_max_num_generation_tokens histogram",
           "vllm:request_params_n histogram",
           "vllm:request_params_max_tokens histogram",
           "vllm:request_num_preemptions histogram",
           "vllm:request_prefill_kv_computed_tokens histogram",
           "vllm:iteration_tokens_total histogram",
           "vllm:corrupted_requests_total counter",
           "vllm:admission_rejections_total counter",
           "vllm:prompt_tokens_by_source_total counter",
           "vllm:prompt_tokens_cached_by_source_total counter",
           "vllm:kv_block_lifetime_seconds histogram",
           "vllm:kv_block_idle_before_evict_seconds histogram",
           "vllm:kv_block_reuse_gap_seconds histogram",
           "tidal:sparse_decode_steps_total counter",
           "tidal:dense_decode_steps_total counter",
           "tidal:selected_tokens_total counter",
           "tidal:corrected_tokens_total counter",
           "tidal:kv_bytes_read_total counter",
           "tidal:step_seconds histogram",
       }) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("# TYPE ", name, "\n")));
  }
  for (const char* reason : {"stop", "length", "abort"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("finished_reason=\"", reason, "\"")));
  }
  EXPECT_THAT(text, HasSubstr(R"(block_size="16")"));
  EXPECT_THAT(text, HasSubstr(R"(num_gpu_blocks="99")"));
  EXPECT_THAT(text, HasSubstr(R"(kv_cache_size_tokens="1584")"));
  EXPECT_THAT(text, HasSubstr(R"(kv_cache_max_concurrency="1.584")"));
}

TEST(MetricsTest, NoFamilyIsWrittenTwice) {
  const std::string text = Metrics(Options()).Render();
  std::set<std::string> seen;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(line, "# TYPE ")) continue;
    EXPECT_TRUE(seen.insert(std::string(line)).second) << line;
  }
  EXPECT_GT(seen.size(), 30);
}

TEST(MetricsTest, StepsMoveGaugesAndAddToCounters) {
  Metrics metrics(Options());
  StepStats step;
  step.prefill_tokens = 10;
  step.decode_rows = 5;
  step.sparse_rows = 3;
  step.selected_tokens = 96;
  step.kv_bytes_read = 4096;
  step.execute_seconds = 0.004;
  LoopStats loop;
  loop.running = 4;
  loop.waiting = 2;
  loop.kv_cache_usage = 0.25;
  loop.preemptions = 1;
  loop.prefix_queries = 100;
  loop.prefix_hits = 32;
  loop.corrected_tokens = 7;
  loop.corrupt_sequences = 1;
  loop.prompt_computed = 68;
  loop.prompt_cached = 32;
  loop.generated = 6;
  metrics.OnStep(step, loop);
  loop.running = 0;
  loop.waiting = 0;
  loop.kv_cache_usage = 0;
  loop.preemptions = 3;
  metrics.OnStep({}, loop);  // idle

  const std::string text = metrics.Render();
  for (const std::string& line : {
           absl::StrCat("vllm:num_requests_running", kLabels, " 0"),
           absl::StrCat("vllm:num_requests_waiting", kLabels, " 0"),
           absl::StrCat("vllm:kv_cache_usage_perc", kLabels, " 0"),
           absl::StrCat("vllm:num_preemptions_total", kLabels, " 3"),
           absl::StrCat("vllm:prefix_cache_queries_total", kLabels, " 100"),
           absl::StrCat("vllm:prefix_cache_hits_total", kLabels, " 32"),
           absl::StrCat("vllm:iteration_tokens_total_sum", kLabels, " 16"),
           absl::StrCat("vllm:corrupted_requests_total", kLabels, " 1"),
           absl::StrCat("vllm:prompt_tokens_cached_total", kLabels, " 32"),
           absl::StrCat("vllm:prompt_tokens_by_source_total", Source("local_compute"), " 68"),
           absl::StrCat("vllm:prompt_tokens_by_source_total", Source("local_cache_hit"), " 32"),
           absl::StrCat("vllm:prompt_tokens_by_source_total", Source("external_kv_transfer"), " 0"),
           absl::StrCat("vllm:prompt_tokens_cached_by_source_total", Source("device"), " 32"),
           absl::StrCat("vllm:iteration_tokens_total_count", kLabels, " 1"),
           absl::StrCat("tidal:sparse_decode_steps_total", kLabels, " 3"),
           absl::StrCat("tidal:dense_decode_steps_total", kLabels, " 2"),
           absl::StrCat("tidal:selected_tokens_total", kLabels, " 96"),
           absl::StrCat("tidal:corrected_tokens_total", kLabels, " 7"),
           absl::StrCat("tidal:kv_bytes_read_total", kLabels, " 4096"),
           absl::StrCat("tidal:step_seconds_sum", kLabels, " 0.004"),
       }) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat(line, "\n")));
  }
}

// Totals go on while nothing is counted; what they gained then is never added.
TEST(MetricsTest, AWarmUpIsNotCounted) {
  Metrics metrics(Options());
  StepStats step;
  step.prefill_tokens = 8;
  step.execute_seconds = 1;
  LoopStats loop;
  loop.running = 1;
  loop.prefix_queries = loop.prompt_computed = 8;
  loop.generated = 1;
  BlockUse use;
  use.reuse_gaps = {absl::Seconds(1)};
  metrics.SetCounting(false);
  metrics.OnStep(step, loop);
  metrics.OnBlockUse(use);
  EXPECT_THAT(metrics.Render(),
              HasSubstr(absl::StrCat("vllm:num_requests_running", kLabels, " 1\n")));
  metrics.SetCounting(true);
  loop.prefix_queries += 3;
  loop.prompt_computed += 3;
  loop.generated += 1;
  step.prefill_tokens = 3;
  metrics.OnStep(step, loop);
  const std::string text = metrics.Render();
  for (const std::string& line : {
           absl::StrCat("vllm:iteration_tokens_total_count", kLabels, " 1"),
           absl::StrCat("vllm:iteration_tokens_total_sum", kLabels, " 4"),
           absl::StrCat("vllm:prefix_cache_queries_total", kLabels, " 3"),
           absl::StrCat("vllm:prompt_tokens_by_source_total", Source("local_compute"), " 3"),
           absl::StrCat("tidal:step_seconds_count", kLabels, " 1"),
           absl::StrCat("vllm:kv_block_reuse_gap_seconds_count", kLabels, " 0"),
       }) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat(line, "\n")));
  }
}

TEST(MetricsTest, RefusalsSayWhichLimit) {
  Metrics metrics(Options());
  metrics.OnRefused(Metrics::Refused::kQueueRequests);
  metrics.OnRefused(Metrics::Refused::kQueueRequests);
  metrics.OnRefused(Metrics::Refused::kQueueTokens);
  metrics.OnRefused(Metrics::Refused::kQueueTime);
  metrics.OnRefused(Metrics::Refused::kInvalid);
  const std::string text = metrics.Render();
  constexpr char kRejections[] = R"(vllm:admission_rejections_total{model_name="nano",reason=")";
  EXPECT_THAT(text, HasSubstr(absl::StrCat(kRejections, "max_num_queued_reqs\"} 2\n")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat(kRejections, "max_num_queued_tokens\"} 1\n")));
  EXPECT_THAT(text, HasSubstr(R"(model_name="nano",reason="queue_full"} 3)"));
}

TEST(MetricsTest, BlockUseGoesIntoVllmsBuckets) {
  Metrics metrics(Options());
  BlockUse use;
  use.lifetimes = {absl::Seconds(2), absl::Seconds(700)};
  use.idle_times = {absl::Milliseconds(2), absl::Seconds(3600)};
  use.reuse_gaps = {absl::Milliseconds(1500)};
  metrics.OnBlockUse(use);
  const std::string text = metrics.Render();
  const auto bucket = [](const char* name, const char* bound) {
    return absl::StrCat(name, R"(_seconds_bucket{engine="0",model_name="nano",le=")", bound, "\"}");
  };
  EXPECT_THAT(text, HasSubstr(bucket("vllm:kv_block_lifetime", "2") + " 1\n"));
  EXPECT_THAT(text, HasSubstr(bucket("vllm:kv_block_lifetime", "1200") + " 2\n"));
  EXPECT_THAT(text, HasSubstr(bucket("vllm:kv_block_idle_before_evict", "0.002") + " 1\n"));
  EXPECT_THAT(text, HasSubstr(bucket("vllm:kv_block_idle_before_evict", "1800") + " 1\n"));
  EXPECT_THAT(text, HasSubstr(bucket("vllm:kv_block_reuse_gap", "1") + " 0\n"));
  EXPECT_THAT(text, HasSubstr(bucket("vllm:kv_block_reuse_gap", "2") + " 1\n"));
}

TEST(MetricsTest, BucketsAreCumulativeAndInclusive) {
  Metrics metrics(Options());
  metrics.OnTokens(4, 3, absl::Milliseconds(1));
  metrics.OnTokens(2, 2, absl::Milliseconds(3));
  metrics.OnTokens(1, 1, absl::Seconds(1000));
  const std::string text = metrics.Render();
  const std::string bucket =
      R"(vllm:inter_token_latency_seconds_bucket{engine="0",model_name="nano",le=)";
  EXPECT_THAT(text, HasSubstr(absl::StrCat(bucket, "\"0.001\"} 3\n")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat(bucket, "\"0.0025\"} 3\n")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat(bucket, "\"0.005\"} 5\n")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat(bucket, "\"80\"} 5\n")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat(bucket, "\"+Inf\"} 6\n")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("vllm:generation_tokens_total", kLabels, " 7\n")));
}

TEST(MetricsTest, TokenBucketsAreOneTwoFive) {
  const std::string text = Metrics(Options()).Render();
  const std::string bucket =
      R"(vllm:request_prompt_tokens_bucket{engine="0",model_name="nano",le=)";
  for (const char* bound : {"1", "2", "5", "10", "100", "500", "1000", "+Inf"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat(bucket, "\"", bound, "\"} 0\n")));
  }
  EXPECT_THAT(text, ::testing::Not(HasSubstr(absl::StrCat(bucket, "\"2000\""))));
}

TEST(MetricsTest, ARequestThatNeverRanHasNoTimesButItsOwn) {
  Metrics metrics(Options());
  FinishInfo info;
  info.prompt_tokens = 5;
  info.arrival = absl::UnixEpoch();
  info.finish = info.arrival + absl::Seconds(2);
  info.first_scheduled = info.first_token = absl::InfinitePast();
  metrics.OnOutputFinished(Metrics::Finished::kAbort, info, 0, 10);
  info.first_scheduled = info.arrival + absl::Milliseconds(500);
  info.first_token = info.arrival + absl::Seconds(1);
  info.output_tokens = 5;
  metrics.OnOutputFinished(Metrics::Finished::kStop, info, 5, 10);
  const std::string text = metrics.Render();
  EXPECT_THAT(text,
              HasSubstr(absl::StrCat("vllm:e2e_request_latency_seconds_sum", kLabels, " 4\n")));
  EXPECT_THAT(text,
              HasSubstr(absl::StrCat("vllm:request_queue_time_seconds_sum", kLabels, " 0.5\n")));
  EXPECT_THAT(text,
              HasSubstr(absl::StrCat("vllm:request_prefill_time_seconds_sum", kLabels, " 0.5\n")));
  EXPECT_THAT(text,
              HasSubstr(absl::StrCat("vllm:request_decode_time_seconds_sum", kLabels, " 1\n")));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("vllm:request_time_per_output_token_seconds_sum",
                                           kLabels, " 0.25\n")));
  EXPECT_THAT(text,
              HasSubstr(absl::StrCat("vllm:request_queue_time_seconds_count", kLabels, " 1\n")));
}

TEST(MetricsTest, ThreadsMayObserveAndRenderAtOnce) {
  Metrics metrics(Options());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&metrics] {
      for (int j = 0; j < 1000; ++j) metrics.OnTokens(1, 1, absl::Milliseconds(j % 20));
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(metrics.Render().empty());
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(metrics.Render(), HasSubstr(absl::StrCat("vllm:inter_token_latency_seconds_count",
                                                       kLabels, " 4000\n")));
}

}  // namespace
}  // namespace tidal
