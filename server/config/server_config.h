// What an operator sets. Made from flags by server_flags.h; no other code reads flags.
#ifndef TIDAL_SERVER_CONFIG_SERVER_CONFIG_H_
#define TIDAL_SERVER_CONFIG_SERVER_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/engine.h"
#include "kernels/backends.h"
#include "server/config/door_config.h"
#include "server/config/prefix_cache_scope.h"
#include "server/observe/logging.h"
#include "server/observe/tracing_options.h"

namespace tidal {

// What a CPU gives the KV cache where nobody says it.
inline constexpr int64_t kCpuKvCacheBytes = int64_t{1} << 30;

// Which model runs how. Fields have the flags' names.
struct ModelOptions {
  std::vector<std::string> served_model_names;  // at least one
  BackendOptions backend;                       // without a group, which the ranks' processes make
  int32_t tensor_parallel_size = 1;             // ranks that compute the model together
  EngineConfig engine;                          // kv_cache_bytes 0 on a CPU: kCpuKvCacheBytes
  std::string chat_template;                    // a file or the text of one; empty: the model's
  bool enable_tokenizer_info_endpoint = false;
  bool escape_special_tokens = false;
  std::string tool_call_parser = "auto", reasoning_parser = "auto";
  bool enable_prefix_caching = true;
  bool overlap = true;
  PrefixCacheScope prefix_cache_scope = PrefixCacheScope::kTenant;
  int32_t max_queued_requests = 4096;
  int64_t max_queued_tokens = 0;                      // 0: by the measured rate and max_queue_time
  absl::Duration max_queue_time = absl::Seconds(60);  // 0: no limit
  AttentionMode default_attention_mode = AttentionMode::kTidal;  // where a plan was chosen
  std::optional<int32_t> token_budget;       // default of a request; nothing = the model's
  std::optional<int32_t> correction_period;  // nothing = the model's

  // INVALID_ARGUMENT "flag: must be ..., got ...". What only the model's files can tell is checked
  // when it is loaded.
  absl::Status Validate() const;
};

struct ServerConfig {
  ModelOptions model;
  std::string host = "127.0.0.1";
  int32_t http_port = 8000;
  int32_t grpc_port = 50051;
  DoorConfig doors;
  int64_t max_request_bytes = 16 << 20;
  absl::Duration grpc_max_connection_age = absl::Minutes(5);  // 0: no limit
  absl::Duration shutdown_timeout = absl::Seconds(30);
  absl::Duration watchdog_timeout = absl::Seconds(120);  // a step may take this long
  bool unready_when_saturated = true;
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
  TracingOptions tracing;

  absl::Status Validate() const;
};

// models/tidal-nano in the current folder or in a folder above the running program. NOT_FOUND when
// there is none.
absl::StatusOr<std::string> FindDefaultModel();

// The last part of a model folder's path.
std::string ModelNameOf(const std::string& model_path);

}  // namespace tidal

#endif  // TIDAL_SERVER_CONFIG_SERVER_CONFIG_H_
