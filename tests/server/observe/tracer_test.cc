#include "server/observe/tracer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace tidal {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

TracingOptions Options(double ratio) {
  TracingOptions options;
  options.otlp_endpoint = "http://127.0.0.1:1/";
  options.otlp_sample_ratio = ratio;
  return options;
}

TraceContext Parent(bool sampled) {
  TraceContext parent;
  parent.trace_id = std::string(32, 'a');
  parent.span_id = std::string(16, 'b');
  parent.sampled = sampled;
  parent.state = "foo=1";
  return parent;
}

TEST(TracerTest, ASpanWithoutParentBeginsATrace) {
  const Tracer tracer(Options(1), "test");
  std::set<std::string> traces, spans;
  for (int i = 0; i < 100; ++i) {
    const TraceContext span = tracer.NewSpan({});
    EXPECT_TRUE(span.sampled);
    EXPECT_TRUE(ParseTraceContext(FormatTraceParent(span), "").valid());
    traces.insert(span.trace_id);
    spans.insert(span.span_id);
  }
  EXPECT_THAT(traces, SizeIs(100));
  EXPECT_THAT(spans, SizeIs(100));
}

TEST(TracerTest, AChildFollowsItsParent) {
  const Tracer tracer(Options(0.5), "test");
  for (const bool sampled : {false, true}) {
    for (int i = 0; i < 20; ++i) {
      const TraceContext span = tracer.NewSpan(Parent(sampled));
      EXPECT_EQ(span.trace_id, Parent(sampled).trace_id);
      EXPECT_NE(span.span_id, Parent(sampled).span_id);
      EXPECT_EQ(span.sampled, sampled);
      EXPECT_EQ(span.state, "foo=1");
    }
  }
}

TEST(TracerTest, TheRatioSamplesNewTraces) {
  const auto sampled = [](double ratio) {
    const Tracer tracer(Options(ratio), "test");
    int count = 0;
    for (int i = 0; i < 10000; ++i) count += tracer.NewSpan({}).sampled ? 1 : 0;
    return count;
  };
  EXPECT_EQ(sampled(0), 0);
  EXPECT_EQ(sampled(1), 10000);
  EXPECT_NEAR(sampled(0.25), 2500, 300);  // seven standard deviations
}

TEST(TracerTest, WithoutAnEndpointNothingIsSampledOrCounted) {
  Tracer tracer({}, "test");
  EXPECT_FALSE(tracer.exports());
  EXPECT_TRUE(tracer.NewSpan({}).valid()) << "the log still tells requests apart";
  EXPECT_FALSE(tracer.NewSpan({}).sampled);
  Span span;
  span.context = Parent(true);
  tracer.Export({span});
  EXPECT_THAT(tracer.RenderMetrics(), HasSubstr("tidal:spans_exported_total 0\n"));
  EXPECT_THAT(tracer.RenderMetrics(),
              HasSubstr("tidal:spans_dropped_total{reason=\"queue_full\"} 0\n"));
}

}  // namespace
}  // namespace tidal
