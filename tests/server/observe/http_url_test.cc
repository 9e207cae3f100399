#include "server/observe/http_url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "server/observe/tracing_options.h"

namespace tidal {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

void ExpectUrl(const char* text, const char* host, const char* port, const char* target) {
  const absl::StatusOr<HttpUrl> url = ParseHttpUrl(text);
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->host, host) << text;
  EXPECT_EQ(url->port, port) << text;
  EXPECT_EQ(url->target, target) << text;
}

TEST(HttpUrlTest, Parts) {
  ExpectUrl("http://collector:4318/v1/traces", "collector", "4318", "/v1/traces");
  ExpectUrl("http://collector", "collector", "80", "/");
  ExpectUrl("http://10.0.0.1:4318", "10.0.0.1", "4318", "/");
  ExpectUrl("http://[::1]:4318/a?b=c", "::1", "4318", "/a?b=c");
  ExpectUrl("http://[fe80::2]/", "fe80::2", "80", "/");
}

TEST(HttpUrlTest, OthersAreRefused) {
  for (const char* bad :
       {"", "collector:4318", "https://collector/", "ftp://collector/", "http://", "http:///path",
        "http://:4318/", "http://host:/", "http://host:0/", "http://host:65536/",
        "http://host:http/", "http://[::1/", "http://[::1]4318/", "http://user@host/",
        "http://host/a b", "http://host/\r\nHost: other"}) {
    const absl::Status status = ParseHttpUrl(bad).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), StartsWith("must be http://")) << bad;
  }
}

TEST(TracingOptionsTest, ErrorsNameTheFlag) {
  TracingOptions options;
  EXPECT_TRUE(options.Validate().ok());
  options.otlp_endpoint = "https://collector:4318/";
  EXPECT_THAT(options.Validate().ToString(), HasSubstr("otlp_endpoint: must be http://"));
  options.otlp_endpoint = "http://collector:4318/";
  EXPECT_TRUE(options.Validate().ok());
  for (const double ratio : {-0.1, 1.1, std::nan("")}) {
    options.otlp_sample_ratio = ratio;
    EXPECT_THAT(options.Validate().ToString(), HasSubstr("otlp_sample_ratio: must be in [0, 1]"));
  }
}

}  // namespace
}  // namespace tidal
