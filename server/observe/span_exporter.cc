#include "server/observe/span_exporter.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "server/observe/http_post.h"
#include "server/observe/logging.h"
#include "server/observe/otlp_json.h"

namespace tidal {

SpanExporter::SpanExporter(SpanExporterOptions options)
    : options_(std::move(options)), thread_([this] { Run(); }) {}

SpanExporter::~SpanExporter() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void SpanExporter::Add(std::vector<Span> spans) {
  absl::MutexLock lock(&mutex_);
  // All spans of a request or none.
  if (queue_.size() + spans.size() > options_.max_queued_spans) {
    counts_.dropped_full += spans.size();
    return;
  }
  std::move(spans.begin(), spans.end(), std::back_inserter(queue_));
}

SpanExporter::Counts SpanExporter::counts() const {
  absl::MutexLock lock(&mutex_);
  return counts_;
}

void SpanExporter::Run() {
  while (true) {
    std::vector<Span> batch = TakeBatch();
    if (batch.empty()) return;
    Send(std::move(batch));
  }
}

std::vector<Span> SpanExporter::TakeBatch() {
  absl::MutexLock lock(&mutex_);
  const auto has_spans = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !queue_.empty();
  };
  const auto has_batch = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || queue_.size() >= options_.max_batch_spans;
  };
  mutex_.Await(absl::Condition(&has_spans));
  mutex_.AwaitWithTimeout(absl::Condition(&has_batch), options_.interval);
  // While it stops only one batch more is sent where the collector does not take them.
  if (stopping_ && failing_) {
    counts_.dropped_error += queue_.size();
    queue_.clear();
  }
  const auto end = queue_.begin() + std::min(queue_.size(), options_.max_batch_spans);
  std::vector<Span> batch(std::make_move_iterator(queue_.begin()), std::make_move_iterator(end));
  queue_.erase(queue_.begin(), end);
  return batch;
}

void SpanExporter::Send(std::vector<Span> batch) {
  const absl::Status status =
      HttpPost(options_.endpoint, RenderOtlpJson(options_.resource, batch), options_.post_timeout);
  {
    absl::MutexLock lock(&mutex_);
    (status.ok() ? counts_.exported : counts_.dropped_error) += batch.size();
  }
  // Said once, not with every batch.
  if (!status.ok() && !failing_) {
    Log(LogLevel::kWarning, "the trace collector takes no spans; they are dropped",
        {{"host", options_.endpoint.host},
         {"port", options_.endpoint.port},
         {"reason", status.message()}});
  } else if (status.ok() && failing_) {
    Log(LogLevel::kInfo, "the trace collector takes spans again");
  }
  failing_ = !status.ok();
}

}  // namespace tidal
