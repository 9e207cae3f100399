#include "server/observe/span_exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"

namespace tidal {
namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;
using Json = nlohmann::json;
using net::ip::tcp;

// A collector that takes one POST after another and answers each with `status`.
class Collector {
 public:
  explicit Collector(int status) : status_(status), thread_([this] { Run(); }) {}
  ~Collector() {
    // A connection that says nothing wakes accept(), which ends the thread.
    stopping_.store(true);
    tcp::socket(io_).connect(acceptor_.local_endpoint());
    thread_.join();
  }

  HttpUrl url() const {
    return {"127.0.0.1", absl::StrCat(acceptor_.local_endpoint().port()), "/v1/traces"};
  }

  std::vector<Json> bodies() const {
    absl::MutexLock lock(&mutex_);
    return bodies_;
  }

 private:
  void Run() {
    while (true) {
      tcp::socket socket = acceptor_.accept();
      if (stopping_.load()) return;
      boost::beast::flat_buffer buffer;
      http::request<http::string_body> request;
      http::read(socket, buffer, request);
      {
        absl::MutexLock lock(&mutex_);
        EXPECT_EQ(request.target(), "/v1/traces");
        EXPECT_EQ(request[http::field::content_type], "application/json");
        bodies_.push_back(Json::parse(request.body()));
      }
      http::response<http::string_body> reply(static_cast<http::status>(status_), 11);
      reply.body() = "{}";
      reply.prepare_payload();
      http::write(socket, reply);
    }
  }

  const int status_;
  net::io_context io_;
  tcp::acceptor acceptor_{io_, {net::ip::make_address("127.0.0.1"), 0}};
  std::atomic<bool> stopping_{false};
  mutable absl::Mutex mutex_;
  std::vector<Json> bodies_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

SpanExporterOptions Options(const HttpUrl& endpoint) {
  SpanExporterOptions options;
  options.endpoint = endpoint;
  options.resource = {{"service.name", std::string("test")}};
  options.interval = absl::Milliseconds(10);
  return options;
}

Span MakeSpan(const std::string& name) {
  Span span;
  span.context.trace_id = std::string(32, '1');
  span.context.span_id = std::string(16, '2');
  span.context.sampled = true;
  span.parent_span_id = std::string(16, '3');
  span.name = name;
  span.start = absl::FromUnixNanos(1700000000000000001);
  span.end = span.start + absl::Nanoseconds(5);
  return span;
}

void WaitUntil(const std::function<bool()>& condition) {
  for (int i = 0; i < 1000 && !condition(); ++i) absl::SleepFor(absl::Milliseconds(10));
  ASSERT_TRUE(condition());
}

TEST(SpanExporterTest, SendsOtlpJson) {
  Collector collector(200);
  SpanExporter exporter(Options(collector.url()));
  Span span = MakeSpan("decode");
  span.kind = SpanKind::kServer;
  span.error = "CANCELLED";
  span.attributes = {{"text", std::string("a\xff")},
                     {"whole", int64_t{1} << 60},
                     {"part", 0.5},
                     {"list", std::vector<std::string>{"stop", "length"}}};
  exporter.Add({span});
  WaitUntil([&] { return exporter.counts().exported == 1; });

  const Json resource = collector.bodies().front()["resourceSpans"][0];
  EXPECT_EQ(resource["resource"]["attributes"],
            Json::parse(R"([{"key": "service.name", "value": {"stringValue": "test"}}])"));
  EXPECT_EQ(resource["scopeSpans"][0]["spans"][0], Json::parse(R"({
    "traceId": "11111111111111111111111111111111", "spanId": "2222222222222222",
    "parentSpanId": "3333333333333333", "name": "decode", "kind": 2,
    "startTimeUnixNano": "1700000000000000001", "endTimeUnixNano": "1700000000000000006",
    "attributes": [
      {"key": "text", "value": {"stringValue": "a\ufffd"}},
      {"key": "whole", "value": {"intValue": "1152921504606846976"}},
      {"key": "part", "value": {"doubleValue": 0.5}},
      {"key": "list", "value": {"arrayValue": {"values": [
        {"stringValue": "stop"}, {"stringValue": "length"}]}}}],
    "status": {"code": 2, "message": "CANCELLED"}})"));
}

TEST(SpanExporterTest, SendsWhatIsQueuedWhenItEnds) {
  Collector collector(200);
  {
    SpanExporterOptions options = Options(collector.url());
    options.interval = absl::Hours(1);
    options.max_batch_spans = 2;
    SpanExporter exporter(std::move(options));
    for (int i = 0; i < 5; ++i) exporter.Add({MakeSpan(absl::StrCat(i))});
  }
  EXPECT_EQ(collector.bodies().size(), 3) << "two batches of two, one of one";
}

TEST(SpanExporterTest, CountsWhatTheCollectorRefuses) {
  Collector collector(503);
  SpanExporter exporter(Options(collector.url()));
  exporter.Add({MakeSpan("a"), MakeSpan("b")});
  WaitUntil([&] { return exporter.counts().dropped_error == 2; });
  EXPECT_EQ(exporter.counts().exported, 0);
}

TEST(SpanExporterTest, ADeadCollectorLosesSpansAndNothingElse) {
  SpanExporter exporter(Options({"127.0.0.1", "1", "/"}));
  exporter.Add({MakeSpan("a")});
  WaitUntil([&] { return exporter.counts().dropped_error == 1; });
}

TEST(SpanExporterTest, ASilentCollectorNeitherBlocksNorFillsMemory) {
  net::io_context io;  // listens, and never answers
  tcp::acceptor acceptor(io, {net::ip::make_address("127.0.0.1"), 0});
  SpanExporterOptions options =
      Options({"127.0.0.1", absl::StrCat(acceptor.local_endpoint().port()), "/"});
  options.max_queued_spans = 100;
  options.post_timeout = absl::Milliseconds(200);
  const absl::Time begin = absl::Now();
  {
    SpanExporter exporter(std::move(options));
    for (int i = 0; i < 1000; ++i) exporter.Add({MakeSpan("a")});
    EXPECT_LT(absl::Now() - begin, absl::Milliseconds(150)) << "adding waits for nobody";
    EXPECT_GE(exporter.counts().dropped_full, 800);
  }
  EXPECT_LT(absl::Now() - begin, absl::Seconds(5)) << "nor does the end of the program";
}

}  // namespace
}  // namespace tidal
