#include "server/gateway/server_channel.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/observe/logging.h"

namespace tidal {
namespace {

constexpr int kPingMs = 15'000;        // after so much silence
constexpr int kPingTimeoutMs = 5'000;  // what does not answer is gone
constexpr int kFirstReconnectMs = 100;
constexpr int kMaxReconnectMs = 1'000;
constexpr int kConnectTimeoutMs = 5'000;
constexpr int kMinResolveIntervalMs = 2'000;

// Refusals cost a server little, yet three for each request that a full fleet sheds would be a
// waste: `retryThrottling` ends retries when failures outweigh successes by 500.
std::string ServiceConfig() {
  const nlohmann::json retries = {{"maxAttempts", 3},
                                  {"initialBackoff", "0.01s"},
                                  {"maxBackoff", "0.1s"},
                                  {"backoffMultiplier", 2},
                                  {"retryableStatusCodes", {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}}};
  const nlohmann::json inference = {{{"service", "tidal.v1.Inference"}}};
  const nlohmann::json round_robin = {{"round_robin", nlohmann::json::object()}};
  const nlohmann::json config = {
      {"loadBalancingConfig", nlohmann::json::array({round_robin})},
      {"healthCheckConfig", {{"serviceName", kAcceptingHealth}}},
      {"methodConfig", nlohmann::json::array({{{"name", inference}, {"retryPolicy", retries}}})},
      {"retryThrottling", {{"maxTokens", 1000}, {"tokenRatio", 0.5}}}};
  return config.dump();
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ServerChannelOptions& options) {
  TIDAL_ASSIGN_OR_RETURN(auto credentials, MakeChannelCredentials(options.tls));
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(ServiceConfig());
  arguments.SetMaxReceiveMessageSize(-1);  // a whole reply is one message
  // What may be sent again is kept until the first event comes; by default not above 256 KiB.
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE,
                   static_cast<int>(std::min<int64_t>(options.max_request_bytes * 2,
                                                      std::numeric_limits<int>::max())));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstReconnectMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, kMinResolveIntervalMs);
  if (!options.server_name.empty()) arguments.SetSslTargetNameOverride(options.server_name);
  return grpc::CreateCustomChannel(options.target, credentials, arguments);
}

}  // namespace

ServerChannel::Stubs::Stubs(const std::shared_ptr<grpc::Channel>& channel)
    : inference(v1::Inference::NewStub(channel)),
      health(grpc::health::v1::Health::NewStub(channel)) {}

ServerChannel::ServerChannel(const std::shared_ptr<grpc::Channel>& channel)
    : current_(std::make_shared<Stubs>(channel)) {}

ServerChannel::ServerChannel(ServerChannelOptions options, absl::Duration reload_interval)
    : options_(std::move(options)),
      watcher_(std::make_unique<FileWatcher>(
          std::vector<std::string>{options_.tls.ca_file, options_.tls.cert_file,
                                   options_.tls.key_file},
          reload_interval, [this] { Reload(); })) {}

ServerChannel::~ServerChannel() = default;

absl::StatusOr<std::unique_ptr<ServerChannel>> ServerChannel::Open(ServerChannelOptions options,
                                                                   absl::Duration reload_interval) {
  std::unique_ptr<ServerChannel> out(new ServerChannel(std::move(options), reload_interval));
  TIDAL_RETURN_IF_ERROR(out->Connect());
  out->watcher_->Start();
  return out;
}

std::shared_ptr<const ServerChannel::Stubs> ServerChannel::stubs() {
  std::vector<std::shared_ptr<const Stubs>> unused;  // they go outside of the lock
  absl::MutexLock lock(&mutex_);
  const auto used = std::partition(old_.begin(), old_.end(),
                                   [](const auto& stubs) { return stubs.use_count() > 1; });
  std::move(used, old_.end(), std::back_inserter(unused));
  old_.erase(used, old_.end());
  return current_;
}

absl::Status ServerChannel::Connect() {
  TIDAL_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, OpenChannel(options_));
  // It connects with its first call: before there is one, nothing drives a channel for seconds.
  auto stubs = std::make_shared<const Stubs>(channel);
  absl::MutexLock lock(&mutex_);
  if (current_ != nullptr) old_.push_back(std::move(current_));
  current_ = std::move(stubs);
  return absl::OkStatus();
}

void ServerChannel::Reload() {
  if (const absl::Status status = Connect(); !status.ok()) {
    Log(LogLevel::kError,
        "the TLS files for the servers could not be read again; the old ones stay",
        {{"reason", status.message()}});
  } else {
    Log(LogLevel::kInfo, "TLS files for the servers read again", {{"file", options_.tls.ca_file}});
  }
}

}  // namespace tidal
