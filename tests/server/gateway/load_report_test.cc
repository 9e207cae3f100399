#include "server/gateway/load_report.h"

#include <gtest/gtest.h>

namespace tidal {
namespace {

constexpr absl::string_view kMetrics =
    "# HELP vllm:num_requests_waiting Requests.\n"
    "# TYPE vllm:num_requests_waiting gauge\n"
    "vllm:num_requests_waiting_by_reason{model_name=\"m\",reason=\"capacity\"} 7\n"
    "vllm:num_requests_waiting{model_name=\"a model\"} 3\n"
    "vllm:kv_cache_usage_perc 0.25\n";

TEST(LoadReport, BothForms) {
  EXPECT_EQ(LoadReport("TEXT", kMetrics),
            "TEXT named_metrics.kv_cache_usage_perc=0.25, named_metrics.num_requests_waiting=3");
  EXPECT_EQ(LoadReport("json", kMetrics),
            R"(JSON {"named_metrics": {"kv_cache_usage_perc": 0.25, "num_requests_waiting": 3}})");
}

TEST(LoadReport, NothingWhereThereIsNothingToTell) {
  EXPECT_EQ(LoadReport("BIN", kMetrics), "");
  EXPECT_EQ(LoadReport("", kMetrics), "");
  EXPECT_EQ(LoadReport("TEXT", "vllm:num_requests_running 1\n"), "");
  EXPECT_EQ(LoadReport("TEXT", "vllm:kv_cache_usage_perc"), "") << "cut off";
}

}  // namespace
}  // namespace tidal
