// Who may use the gateway: keys, the health port, TLS files. TLS itself is tested on the programs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/server/gateway/gateway_fixture.h"

namespace tidal {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::HasSubstr;

// One that nobody listens on, for options where 0 means none.
int FreePort() {
  boost::asio::io_context io;
  using boost::asio::ip::tcp;
  tcp::acceptor acceptor(io, tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  return acceptor.local_endpoint().port();
}

using GatewayAccessTest = GatewayFixture;

TEST_F(GatewayAccessTest, ApiKeys) {
  options_.api_keys = *ApiKeys::Load({"one", "two"}, "");
  StartGateway();
  const HttpReply refused = Fetch(port(), PostRequest("/v1/completions", kPrompt));
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(json::parse(refused.body)["error"]["code"], "invalid_api_key");
  const auto with_key = [this](const std::string& key) {
    return Fetch(port(),
                 PostRequest("/v1/completions", kPrompt, "Authorization: Bearer " + key + "\r\n"))
        .status;
  };
  EXPECT_EQ(with_key("two"), 200);
  EXPECT_EQ(with_key("tw"), 401);
  EXPECT_EQ(with_key(""), 401);
  EXPECT_EQ(with_key("twoo"), 401);
  EXPECT_EQ(Fetch(port(), GetRequest("/health")).status, 200);
  EXPECT_THAT(refused.head, HasSubstr("WWW-Authenticate: Bearer"));
  EXPECT_THAT(Fetch(port(), GetRequest("/metrics")).body,
              HasSubstr("\ntidal:unauthorized_requests_total 4\n"));
}

// As vLLM has it. A page in a browser can send any server a form, but not JSON.
TEST_F(GatewayAccessTest, BodiesAreJsonAndSaySoWhereTheySayAnything) {
  StartGateway();
  const auto status = [&](const std::string& path, const std::string& content_type) {
    std::string request = PostRequest(path, R"({"prompt": "A", "tokens": [65]})");
    const std::string header = "Content-Type: application/json\r\n";
    request.replace(request.find(header), header.size(), content_type);
    return Fetch(port(), request).status;
  };
  for (const char* path : {"/tokenize", "/detokenize", "/v1/completions"}) {
    EXPECT_EQ(status(path, ""), 200) << path;
    EXPECT_EQ(status(path, "content-type: Application/JSON ;charset=utf-8\r\n"), 200) << path;
    for (const char* other : {"application/x-www-form-urlencoded", "text/plain", "multipart/x"}) {
      EXPECT_EQ(status(path, absl::StrCat("Content-Type: ", other, "\r\n")), 415) << path;
    }
  }
  EXPECT_EQ(status("/version", "Content-Type: text/plain\r\n"), 405);
}

TEST_F(GatewayAccessTest, TheAuthorizationHeaderGoesOnToTheService) {
  StartGateway();
  const std::string header = "Authorization: Bearer abc\r\n";
  const std::vector<std::string> requests = {
      PostRequest("/v1/completions", kPrompt, header), PostRequest("/tokenize", kPrompt, header),
      PostRequest("/detokenize", R"({"tokens": [65]})", header), GetRequest("/v1/models", header)};
  for (const std::string& request : requests) {
    EXPECT_EQ(Fetch(port(), GetRequest("/v1/models")).status, 200);
    EXPECT_EQ(fake_.last_authorization(), "");
    EXPECT_EQ(Fetch(port(), request).status, 200);
    EXPECT_EQ(fake_.last_authorization(), "Bearer abc") << request;
  }
  // What gRPC does not carry is as good as nothing.
  for (const std::string& bad : {std::string("Bearer \x01"), std::string("Bearer \xc3\xa4"),
                                 "Bearer " + std::string(9000, 'x')}) {
    EXPECT_EQ(Fetch(port(), GetRequest("/v1/models")).status, 200);
    const std::string request = GetRequest("/v1/models", "Authorization: " + bad + "\r\n");
    EXPECT_THAT(Fetch(port(), request).status, AnyOf(200, 400));
    EXPECT_EQ(fake_.last_authorization(), "");
  }
}

TEST_F(GatewayAccessTest, TheServiceMayRefuseTheKey) {
  fake_.set_script([](auto&, auto&, auto&) {
    return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "the API key is missing or wrong");
  });
  StartGateway();
  const HttpReply refused = Fetch(port(), PostRequest("/v1/completions", kStream));
  EXPECT_EQ(refused.status, 401);
  EXPECT_THAT(refused.head, HasSubstr("WWW-Authenticate: Bearer"));
  EXPECT_EQ(json::parse(refused.body)["error"]["code"], "invalid_api_key");
}

TEST_F(GatewayAccessTest, TheHealthPortAnswersNothingElse) {
  options_.health_port = FreePort();
  options_.api_keys = *ApiKeys::Load({"one"}, "");
  options_.limits.max_connections = 1;
  StartGateway();
  const int health = options_.health_port;
  HttpClient hostile(port());  // takes the only place of the other port
  hostile.Send(GetRequest("/health/live"));
  EXPECT_EQ(hostile.ReadReply().status, 200);
  for (const char* path : {"/health", "/health/ready", "/health/live", "/ping", "/version"}) {
    EXPECT_EQ(Fetch(health, GetRequest(path)).status, 200) << path;
  }
  EXPECT_THAT(Fetch(health, GetRequest("/metrics")).body,
              HasSubstr(R"(tidal:http_requests_total{handler="/health/live",code="200"} 2)"));
  EXPECT_EQ(Fetch(health, GetRequest("/v1/models")).status, 404);
  EXPECT_EQ(Fetch(health, PostRequest("/v1/completions", kPrompt, "Authorization: Bearer one\r\n"))
                .status,
            404);
  EXPECT_EQ(fake_.calls, 0);
}

TEST_F(GatewayAccessTest, TlsFilesThatCannotBeReadAreNamed) {
  options_.tls = {"no/cert.pem", "no/key.pem", ""};
  const absl::Status status = Gateway::Start(options_, fake_.channel()).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("tls_cert_file: must be a readable PEM certificate, got no/cert.pem"));
}

}  // namespace
}  // namespace tidal
