// A gateway before a scripted service, for the tests of what it does with requests.
#ifndef TIDAL_TESTS_SERVER_GATEWAY_GATEWAY_FIXTURE_H_
#define TIDAL_TESTS_SERVER_GATEWAY_GATEWAY_FIXTURE_H_

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "server/gateway/gateway.h"
#include "tests/server/gateway/fake_inference.h"
#include "tests/server/http/http_client.h"

namespace tidal {

inline constexpr char kPrompt[] = R"({"prompt": "Hi"})";
inline constexpr char kStream[] = R"({"prompt": "Hi", "stream": true})";

class GatewayFixture : public ::testing::Test {
 protected:
  // With options_ as they are then.
  void StartGateway() {
    auto gateway = Gateway::Start(options_, fake_.channel());
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
  }
  int port() const { return gateway_->port(); }

  // Waits until the condition holds; false where it does not within 10 s.
  static bool Eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 1000; ++i) {
      if (condition()) return true;
      absl::SleepFor(absl::Milliseconds(10));
    }
    return false;
  }

  std::atomic<bool> go_ = false;  // for scripts that wait; they may run until fake_ is gone
  GatewayOptions options_;
  FakeInference fake_;
  std::unique_ptr<Gateway> gateway_;
};

}  // namespace tidal

#endif  // TIDAL_TESTS_SERVER_GATEWAY_GATEWAY_FIXTURE_H_
