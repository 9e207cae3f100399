#include "server/config/server_config.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "server/config/model_folder.h"

namespace tidal {
namespace {

constexpr char kDefaultModel[] = "models/tidal-nano";

template <typename Value>
absl::Status Require(bool ok, const char* flag, const char* must, const Value& got) {
  if (ok) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(flag, ": must be ", must, ", got ", got));
}

bool IsModel(const std::filesystem::path& folder) {
  std::error_code error;
  return std::filesystem::exists(folder / "config.json", error);
}

absl::Status CheckPort(const char* flag, int32_t port) {
  return Require(port >= 0 && port <= 65535, flag, "in [0, 65535]", port);
}

}  // namespace

absl::Status ModelOptions::Validate() const {
  TIDAL_RETURN_IF_ERROR(
      CheckModelFolder(engine.model_path, engine.load_format == LoadFormat::kSafetensors));
  for (const std::string& name : served_model_names) {
    TIDAL_RETURN_IF_ERROR(
        Require(!name.empty(), "served_model_name", "names with commas between", "an empty name"));
  }
  const std::string& device = backend.device;
  TIDAL_RETURN_IF_ERROR(Require(device == "auto" || device == "cpu" || device == "cuda", "device",
                                "auto, cpu or cuda", device));
  TIDAL_RETURN_IF_ERROR(Require(backend.num_threads >= 0 && backend.num_threads <= 1024,
                                "num_threads", "in [0, 1024]", backend.num_threads));
  TIDAL_RETURN_IF_ERROR(
      Require(tensor_parallel_size >= 1 && tensor_parallel_size <= RankGroup::kMaxRanks,
              "tensor_parallel_size", "in [1, 64]", tensor_parallel_size));
  static_assert(RankGroup::kMaxRanks == 64, "the message says it");
  TIDAL_RETURN_IF_ERROR(
      Require(backend.cuda_device >= 0, "cuda_device", "0 or more", backend.cuda_device));
  TIDAL_RETURN_IF_ERROR(Require(engine.max_model_len == 0 || engine.max_model_len >= 2,
                                "max_model_len", "0 (the model's) or at least 2",
                                engine.max_model_len));
  TIDAL_RETURN_IF_ERROR(Require(engine.max_num_seqs >= 1 && engine.max_num_seqs <= 65536,
                                "max_num_seqs", "in [1, 65536]", engine.max_num_seqs));
  TIDAL_RETURN_IF_ERROR(Require(
      engine.max_num_batched_tokens >= engine.max_num_seqs, "max_num_batched_tokens",
      "at least max_num_seqs, so that every sequence can decode", engine.max_num_batched_tokens));
  const int32_t block = engine.block_size;
  TIDAL_RETURN_IF_ERROR(
      Require(block == 16 || block == 32 || block == 64, "block_size", "16, 32 or 64", block));
  TIDAL_RETURN_IF_ERROR(
      Require(engine.kv_cache_bytes >= 0, "kv_cache_bytes", "0 or more", engine.kv_cache_bytes));
  TIDAL_RETURN_IF_ERROR(Require(engine.memory_utilization > 0 && engine.memory_utilization <= 1,
                                "gpu_memory_utilization", "in (0, 1]", engine.memory_utilization));
  TIDAL_RETURN_IF_ERROR(Require(engine.max_token_budget >= 0, "max_token_budget",
                                "0 (max_model_len) or more", engine.max_token_budget));
  TIDAL_RETURN_IF_ERROR(
      Require(max_queued_requests >= 1, "max_queued_requests", "at least 1", max_queued_requests));
  TIDAL_RETURN_IF_ERROR(
      Require(max_queued_tokens >= 0, "max_queued_tokens", "0 or more", max_queued_tokens));
  TIDAL_RETURN_IF_ERROR(Require(max_queue_time >= absl::ZeroDuration(), "max_queue_time",
                                "0 (no limit) or more", absl::FormatDuration(max_queue_time)));
  TIDAL_RETURN_IF_ERROR(Require(token_budget.value_or(1) >= 1, "token_budget",
                                "0 (the model's) or more", token_budget.value_or(1)));
  return Require(correction_period.value_or(0) >= 0, "correction_period",
                 "-1 (the model's), 0 (never) or more", correction_period.value_or(0));
}

absl::Status ServerConfig::Validate() const {
  TIDAL_RETURN_IF_ERROR(model.Validate());
  TIDAL_RETURN_IF_ERROR(tracing.Validate());
  TIDAL_RETURN_IF_ERROR(Require(!host.empty(), "host", "an address to listen on", "nothing"));
  TIDAL_RETURN_IF_ERROR(CheckPort("http_port", http_port));
  TIDAL_RETURN_IF_ERROR(CheckPort("grpc_port", grpc_port));
  TIDAL_RETURN_IF_ERROR(Require(http_port != grpc_port || http_port == 0, "grpc_port",
                                "another than http_port", grpc_port));
  TIDAL_RETURN_IF_ERROR(doors.Validate());
  const bool own_health_port =
      doors.health_port == 0 || (doors.health_port != http_port && doors.health_port != grpc_port);
  TIDAL_RETURN_IF_ERROR(Require(own_health_port, "health_port",
                                "another than http_port and grpc_port", doors.health_port));
  TIDAL_RETURN_IF_ERROR(Require(max_request_bytes >= 1024 && max_request_bytes <= (1 << 30),
                                "max_request_bytes", "in [1KiB, 1GiB]", max_request_bytes));
  TIDAL_RETURN_IF_ERROR(Require(
      grpc_max_connection_age >= absl::ZeroDuration() && grpc_max_connection_age <= absl::Hours(24),
      "grpc_max_connection_age", "in [0, 24h]", absl::FormatDuration(grpc_max_connection_age)));
  TIDAL_RETURN_IF_ERROR(Require(shutdown_timeout >= absl::ZeroDuration(), "shutdown_timeout",
                                "0 or more", absl::FormatDuration(shutdown_timeout)));
  return Require(watchdog_timeout > absl::ZeroDuration(), "watchdog_timeout", "more than 0",
                 absl::FormatDuration(watchdog_timeout));
}

absl::StatusOr<std::string> FindDefaultModel() {
  if (IsModel(kDefaultModel)) return kDefaultModel;
  std::error_code error;
  std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", error);
  while (folder.has_relative_path()) {
    folder = folder.parent_path();
    if (IsModel(folder / kDefaultModel)) return (folder / kDefaultModel).string();
  }
  return absl::NotFoundError(
      absl::StrCat("model: must be a model folder, got nothing, and there is no ", kDefaultModel,
                   " here or above the program"));
}

std::string ModelNameOf(const std::string& model_path) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::weakly_canonical(model_path, error);
  if (error) path = model_path;
  return path.filename().empty() ? "model" : path.filename().string();
}

}  // namespace tidal
