#include "tools/bench/load_report.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace tidal {
namespace {

using OrderedJson = nlohmann::ordered_json;

double PerSecond(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }

OrderedJson ToJson(const Percentiles& percentiles) {
  return {{"mean", percentiles.mean},
          {"p50", percentiles.p50},
          {"p90", percentiles.p90},
          {"p99", percentiles.p99}};
}

}  // namespace

Percentiles PercentilesOf(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&values](double share) {
    const double position = share * static_cast<double>(values.size() - 1);
    const size_t low = static_cast<size_t>(position);
    const size_t high = std::min(low + 1, values.size() - 1);
    return values[low] + (position - static_cast<double>(low)) * (values[high] - values[low]);
  };
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {sum / static_cast<double>(values.size()), at(0.5), at(0.9), at(0.99)};
}

LoadReport MakeLoadReport(const std::vector<RequestTrace>& traces, absl::Duration wall) {
  LoadReport report;
  report.seconds = absl::ToDoubleSeconds(wall);
  std::vector<double> ttft, tpot, latency, refused;
  for (const RequestTrace& trace : traces) {
    report.output_tokens += trace.num_tokens;
    if (absl::IsResourceExhausted(trace.status)) {
      ++report.refused;
      refused.push_back(absl::ToDoubleMilliseconds(trace.end - trace.sent));
      continue;
    }
    if (!trace.status.ok()) {
      ++report.failed;
      if (report.first_error.empty()) report.first_error = trace.status.ToString();
      continue;
    }
    ++report.completed;
    if (trace.num_tokens == 0) continue;
    ttft.push_back(absl::ToDoubleMilliseconds(trace.first_token - trace.start));
    latency.push_back(absl::ToDoubleMilliseconds(trace.last_token - trace.start));
    if (trace.num_tokens == 1) continue;
    tpot.push_back(absl::ToDoubleMilliseconds(trace.last_token - trace.first_token) /
                   (trace.num_tokens - 1));
  }
  report.ttft_ms = PercentilesOf(std::move(ttft));
  report.tpot_ms = PercentilesOf(std::move(tpot));
  report.latency_ms = PercentilesOf(std::move(latency));
  report.refused_ms = PercentilesOf(std::move(refused));
  return report;
}

std::string RenderTable(const LoadOptions& options, const LoadReport& report) {
  std::string table = absl::StrFormat(
      "%d requests in %.1f s over %s (%d refused, %d failed): %d prompt tokens, %d output tokens "
      "each\n"
      "throughput  %.2f requests/s, %.1f output tokens/s\n"
      "milliseconds              mean        p50        p90        p99\n",
      report.completed, report.seconds, options.api, report.refused, report.failed,
      options.prompt_tokens, options.max_tokens, PerSecond(report.completed, report.seconds),
      PerSecond(static_cast<double>(report.output_tokens), report.seconds));
  const auto row = [&table](const char* name, const Percentiles& values) {
    absl::StrAppend(&table, absl::StrFormat("%-20s%10.1f %10.1f %10.1f %10.1f\n", name, values.mean,
                                            values.p50, values.p90, values.p99));
  };
  row("first token", report.ttft_ms);
  row("per output token", report.tpot_ms);
  row("whole request", report.latency_ms);
  if (report.refused > 0) row("refusal", report.refused_ms);
  if (report.failed > 0) absl::StrAppend(&table, "first error: ", report.first_error, "\n");
  return table;
}

std::string RenderJson(const LoadOptions& options, const LoadReport& report) {
  const OrderedJson json = {{"api", options.api},
                            {"concurrency", options.concurrency},
                            {"request_rate", options.request_rate},
                            {"num_requests", options.num_requests},
                            {"prompt_tokens", options.prompt_tokens},
                            {"max_tokens", options.max_tokens},
                            {"attention", options.attention},
                            {"token_budget", options.token_budget},
                            {"seed", options.seed},
                            {"completed", report.completed},
                            {"refused", report.refused},
                            {"failed", report.failed},
                            {"first_error", report.first_error},
                            {"seconds", report.seconds},
                            {"requests_per_second", PerSecond(report.completed, report.seconds)},
                            {"output_tokens_per_second",
                             PerSecond(static_cast<double>(report.output_tokens), report.seconds)},
                            {"ttft_ms", ToJson(report.ttft_ms)},
                            {"tpot_ms", ToJson(report.tpot_ms)},
                            {"latency_ms", ToJson(report.latency_ms)},
                            {"refused_ms", ToJson(report.refused_ms)}};
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

}  // namespace tidal
