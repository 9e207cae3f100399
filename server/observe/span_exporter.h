// Sends spans to an OpenTelemetry collector from a thread of its own, in batches. Tracing is never
// worth a request's time: what cannot be sent is dropped and counted.
#ifndef TIDAL_SERVER_OBSERVE_SPAN_EXPORTER_H_
#define TIDAL_SERVER_OBSERVE_SPAN_EXPORTER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/observe/http_url.h"
#include "server/observe/span.h"

namespace tidal {

struct SpanExporterOptions {
  HttpUrl endpoint;
  std::vector<SpanAttribute> resource;             // describes this process
  size_t max_queued_spans = 8192;                  // more are dropped
  size_t max_batch_spans = 512;                    // in one POST
  absl::Duration interval = absl::Seconds(1);      // a span waits at most so long for its batch
  absl::Duration post_timeout = absl::Seconds(3);  // a batch that takes longer is dropped
};

// Thread-safe.
class SpanExporter {
 public:
  explicit SpanExporter(SpanExporterOptions options);
  // Tries to send what is queued: takes up to two post_timeouts.
  ~SpanExporter();

  // Never waits for the network.
  void Add(std::vector<Span> spans);

  struct Counts {
    uint64_t exported = 0;       // spans that the collector took
    uint64_t dropped_full = 0;   // they came faster than they could be sent
    uint64_t dropped_error = 0;  // the collector did not take them
  };
  Counts counts() const;

 private:
  void Run();
  // Waits for a batch; empty when there is nothing left to do.
  std::vector<Span> TakeBatch();
  void Send(std::vector<Span> batch);

  const SpanExporterOptions options_;
  mutable absl::Mutex mutex_;
  std::deque<Span> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Counts counts_ ABSL_GUARDED_BY(mutex_);
  bool failing_ = false;  // the exporter's thread only: the last batch was not taken
  std::thread thread_;    // last: it uses the rest
};

}  // namespace tidal

#endif  // TIDAL_SERVER_OBSERVE_SPAN_EXPORTER_H_
