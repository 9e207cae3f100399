#include "tools/bench/load_bench.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"
#include "tools/bench/load_client.h"
#include "tools/bench/load_options.h"
#include "tools/bench/load_report.h"

namespace tidal {
namespace {

// Ordinary tokens of every vocabulary we know: past the special ones and the single bytes.
constexpr uint32_t kFirstToken = 300;
constexpr uint32_t kNumTokens = 3000;

std::vector<uint32_t> MakePrompt(const LoadOptions& options, int request) {
  std::seed_seq seed = {options.seed, static_cast<uint64_t>(request)};
  std::mt19937_64 random(seed);
  std::vector<uint32_t> prompt(options.prompt_tokens);
  for (uint32_t& token : prompt) token = kFirstToken + static_cast<uint32_t>(random() % kNumTokens);
  return prompt;
}

// When each request is due, from the start of the run; all at once without a rate.
std::vector<absl::Duration> MakeArrivals(const LoadOptions& options) {
  std::vector<absl::Duration> arrivals(options.num_requests);
  if (options.request_rate == 0) return arrivals;
  std::mt19937_64 random(options.seed);
  std::exponential_distribution<double> gap(options.request_rate);
  absl::Duration now;
  for (absl::Duration& arrival : arrivals) {
    arrival = now;
    now += absl::Seconds(gap(random));
  }
  return arrivals;
}

// What the progress line shows.
struct Progress {
  std::atomic<int> next = 0;
  std::atomic<int> done = 0;
  std::atomic<int64_t> tokens = 0;
};

void ShowProgress(const LoadOptions& options, const Progress& progress,
                  const absl::Notification& over) {
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const absl::Time begin = absl::Now();
  const absl::Duration interval = terminal ? absl::Milliseconds(500) : absl::Seconds(10);
  while (!over.WaitForNotificationWithTimeout(interval)) {
    const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
    const int done = progress.done;
    const int sent = std::min<int>(progress.next, options.num_requests);
    absl::FPrintF(stderr, "%s%d of %d requests done, %d running, %.1f output tokens/s%s",
                  terminal ? "\r" : "", done, options.num_requests, sent - done,
                  static_cast<double>(progress.tokens) / seconds, terminal ? "   " : "\n");
  }
  if (terminal) absl::FPrintF(stderr, "\n");
}

void RunWorker(const LoadOptions& options, const RequestSender& send,
               const std::vector<absl::Duration>& arrivals, absl::Time begin, Progress& progress,
               std::vector<RequestTrace>& traces) {
  while (true) {
    const int request = progress.next++;
    if (request >= options.num_requests) return;
    const std::vector<uint32_t> prompt = MakePrompt(options, request);
    RequestTrace& trace = traces[request];
    // Without a rate a request is due when a worker is free for it.
    trace.start = options.request_rate > 0 ? begin + arrivals[request] : absl::Now();
    absl::SleepFor(trace.start - absl::Now());
    trace.sent = absl::Now();
    send(prompt, trace);
    trace.end = absl::Now();
    progress.tokens += trace.num_tokens;
    ++progress.done;
  }
}

absl::StatusOr<LoadReport> Run(const LoadOptions& options) {
  RequestSender send;
  if (options.api == "grpc") {
    send = MakeGrpcSender(options);
  } else {
    TIDAL_ASSIGN_OR_RETURN(send, MakeHttpSender(options));
  }
  const std::vector<absl::Duration> arrivals = MakeArrivals(options);
  std::vector<RequestTrace> traces(options.num_requests);
  Progress progress;
  absl::Notification over;
  std::thread display([&] { ShowProgress(options, progress, over); });
  const absl::Time begin = absl::Now();
  std::vector<std::thread> workers;
  for (int i = 0; i < std::min(options.concurrency, options.num_requests); ++i) {
    workers.emplace_back([&] { RunWorker(options, send, arrivals, begin, progress, traces); });
  }
  for (std::thread& worker : workers) worker.join();
  const absl::Duration wall = absl::Now() - begin;
  over.Notify();
  display.join();
  return MakeLoadReport(traces, wall);
}

int Fail(const absl::Status& status) {
  absl::FPrintF(stderr, "tidal-bench load: %s\n", std::string(status.message()));
  return 1;
}

}  // namespace

int RunLoadBench(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--help") {
      std::fputs(LoadUsage().c_str(), stdout);
      return 0;
    }
  }
  const absl::StatusOr<LoadOptions> options = ParseLoadOptions(argc, argv);
  if (!options.ok()) return Fail(options.status());
  const absl::StatusOr<LoadReport> report = Run(*options);
  if (!report.ok()) return Fail(report.status());
  std::fputs(RenderTable(*options, *report).c_str(), stdout);
  if (!options->json.empty()) {
    std::ofstream file(options->json);
    file << RenderJson(*options, *report);
    if (!file.flush()) return Fail(absl::UnavailableError("json: cannot write " + options->json));
  }
  return report->failed + report->refused == 0 ? 0 : 1;
}

}  // namespace tidal
