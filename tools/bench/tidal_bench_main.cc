// tidal-bench: times decode steps of a model (no server), single kernels, or a running server:
//   tidal-bench --model=DIR --modes=full,tidal --contexts=2048,16384 --json=FILE
//   tidal-bench kernels --device=cuda ...
//   tidal-bench load --target=127.0.0.1:50051 ...
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/shard.h"
#include "engine/engine.h"
#include "engine/parallel/ranked_engine.h"
#include "engine/parallel/shared_link.h"
#include "kernels/backends.h"
#include "nlohmann/json.hpp"
#include "server/ranks/load_engine.h"
#include "server/ranks/rank_processes.h"
#include "tools/bench/bench_flags.h"
#include "tools/bench/kernel_bench.h"
#include "tools/bench/load_bench.h"
#include "tools/bench/offline_bench.h"

ABSL_FLAG(std::string, model, "models/tidal-nano", "Hugging Face model folder");
ABSL_FLAG(std::string, load_format, "safetensors",
          "safetensors, or dummy: random weights and KV cache of the shapes in config.json");
ABSL_FLAG(std::vector<std::string>, modes, std::vector<std::string>({"full", "tidal"}),
          "attention modes to time: full, tidal");
ABSL_FLAG(double, repetition_penalty, 1, "of every sequence; 1 = none");
ABSL_FLAG(int32_t, token_budget, 0, "tokens a reuse layer reads; 0 = the model's default");
ABSL_FLAG(std::vector<std::string>, contexts, std::vector<std::string>({"2048", "8192"}),
          "context lengths in tokens");
ABSL_FLAG(std::vector<std::string>, batches, std::vector<std::string>({"1"}),
          "sequences in a step");
ABSL_FLAG(std::vector<std::string>, prefill, {}, "prompt lengths whose prefill is timed as well");
ABSL_FLAG(int32_t, steps, 32, "timed decode steps a cell; the median is reported");
ABSL_FLAG(bool, overlap, false,
          "launch each decode step while the one before runs, as a server does on a GPU");
ABSL_FLAG(std::string, attention_profile, "default",
          "default, quality, paper, or a pattern string");
ABSL_FLAG(int32_t, max_num_batched_tokens, 2048, "tokens of a prefill step");
ABSL_FLAG(int32_t, tensor_parallel_size, 1,
          "ranks that compute the model together, a process for each; bytes and bounds are one's");
ABSL_FLAG(bool, ranks_share_device, false,
          "all ranks on one GPU, in turns: to try them, not to time them");

namespace tidal {
namespace {

absl::StatusOr<OfflineBenchOptions> OptionsFromFlags() {
  OfflineBenchOptions options;
  TIDAL_ASSIGN_OR_RETURN(options.contexts,
                         ParsePositiveInts("contexts", absl::GetFlag(FLAGS_contexts)));
  TIDAL_ASSIGN_OR_RETURN(options.batches,
                         ParsePositiveInts("batches", absl::GetFlag(FLAGS_batches)));
  TIDAL_ASSIGN_OR_RETURN(options.prefill_lengths,
                         ParsePositiveInts("prefill", absl::GetFlag(FLAGS_prefill)));
  options.modes.clear();
  for (const std::string& mode : absl::GetFlag(FLAGS_modes)) {
    if (mode != "full" && mode != "tidal") {
      return absl::InvalidArgumentError(
          absl::StrCat("--modes: must be full or tidal, got '", mode, "'"));
    }
    options.modes.push_back(mode == "full" ? AttentionMode::kFull : AttentionMode::kTidal);
  }
  options.steps = absl::GetFlag(FLAGS_steps);
  if (options.steps < 1) return absl::InvalidArgumentError("--steps: must be at least 1");
  if (options.batches.empty()) return absl::InvalidArgumentError("--batches: must not be empty");
  options.repetition_penalty = static_cast<float>(absl::GetFlag(FLAGS_repetition_penalty));
  if (!(options.repetition_penalty > 0)) {
    return absl::InvalidArgumentError("--repetition_penalty: must be above 0");
  }
  options.token_budget = absl::GetFlag(FLAGS_token_budget);
  if (options.token_budget < 0) {
    return absl::InvalidArgumentError("--token_budget: must be at least 0");
  }
  const std::string format = absl::GetFlag(FLAGS_load_format);
  if (format != "safetensors" && format != "dummy") {
    return absl::InvalidArgumentError(
        absl::StrCat("--load_format: must be safetensors or dummy, got '", format, "'"));
  }
  options.random_kv_cache = format == "dummy";
  options.overlap = absl::GetFlag(FLAGS_overlap);
  return options;
}

absl::StatusOr<std::unique_ptr<Engine>> MakeEngine(const OfflineBenchOptions& options,
                                                   std::unique_ptr<Backend> backend,
                                                   RankLink* link) {
  EngineConfig config;
  config.model_path = absl::GetFlag(FLAGS_model);
  config.attention_profile = absl::GetFlag(FLAGS_attention_profile);
  if (options.random_kv_cache) config.load_format = LoadFormat::kDummy;
  config.max_num_seqs = *std::max_element(options.batches.begin(), options.batches.end());
  config.max_num_batched_tokens =
      std::max(config.max_num_seqs, absl::GetFlag(FLAGS_max_num_batched_tokens));
  TIDAL_ASSIGN_OR_RETURN(const ModelConfig whole, ReadModelConfig(config.model_path));
  TIDAL_ASSIGN_OR_RETURN(const ModelConfig model,
                         ShardOf(whole, {0, link == nullptr ? 1 : link->size()}));
  // No longer than what is measured, so that published shapes fit beside their weights.
  config.max_model_len = std::min(model.max_context_len(), LongestSequence(options));
  if (options.token_budget > 0) {
    config.max_token_budget = std::min(options.token_budget, config.max_model_len);
  }
  const int64_t kv_bytes_per_token =
      int64_t{2} * model.num_layers * model.num_kv_heads * model.head_dim * sizeof(bfloat16);
  config.kv_cache_bytes = KvBytesNeeded(options, kv_bytes_per_token, config.block_size);
  return Engine::Create(config, std::move(backend), link);
}

// This rank's. Measures its device's read bandwidth before.
absl::StatusOr<LoadedEngine> LoadBenchEngine(RankGroup* group, OfflineBenchOptions* options) {
  BackendOptions backend_options = BackendOptionsFromFlags();
  backend_options.group = group;
  backend_options.ranks_share_device = absl::GetFlag(FLAGS_ranks_share_device);
  std::string message;
  std::unique_ptr<Backend> backend = MakeBackend(backend_options, &message);
  if (backend == nullptr) return absl::UnavailableError(message);
  options->read_bandwidth = backend->MeasureReadBandwidth();
  if (options->read_bandwidth <= 0) {
    return absl::ResourceExhaustedError("no memory to measure the read bandwidth with");
  }
  LoadedEngine loaded;
  if (group != nullptr) loaded.link = MakeSharedLink(group);
  TIDAL_ASSIGN_OR_RETURN(loaded.engine,
                         MakeEngine(*options, std::move(backend), loaded.link.get()));
  return loaded;
}

// The life of a rank other than 0; the exit status of its process.
int FollowInBench(OfflineBenchOptions options, RankGroup* group) {
  const absl::StatusOr<LoadedEngine> loaded = LoadBenchEngine(group, &options);
  const absl::Status status =
      loaded.ok() ? FollowRankZero(loaded->engine.get(), loaded->link.get()) : loaded.status();
  if (status.ok()) return 0;
  group->Fail(group->rank(), {status.message().data(), status.message().size()});
  return 1;
}

absl::StatusOr<std::unique_ptr<RankProcesses>> StartBenchRanks(const OfflineBenchOptions& options) {
  const int32_t size = absl::GetFlag(FLAGS_tensor_parallel_size);
  if (size == 1) return nullptr;
  if (size < 1 || size > RankGroup::kMaxRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tensor_parallel_size: must be in [1, ", RankGroup::kMaxRanks, "]"));
  }
  TIDAL_ASSIGN_OR_RETURN(
      std::unique_ptr<RankProcesses> ranks,
      RankProcesses::Start(size, [&](RankGroup* group) { return FollowInBench(options, group); }));
  ranks->Watch([](const std::string& failure) {
    std::cerr << "tidal-bench: " << failure << "\n";
    _exit(1);
  });
  return ranks;
}

nlohmann::json ToJson(const BenchResult& r) {
  return {{"mode", r.mode},
          {"token_budget", r.token_budget},
          {"context", r.context},
          {"batch", r.batch},
          {"ms_per_step", r.ms_per_step},
          {"tokens_per_second", r.tokens_per_second},
          {"weight_bytes", r.weight_bytes},
          {"kv_bytes", r.kv_bytes},
          {"bound_ms", r.bound_ms},
          {"bound_share", r.bound_share},
          {"host_us", r.host_us},
          {"overlap", r.overlap}};
}

void PrintRow(const BenchResult& r) {
  std::printf("%-8s %7d %8d %6d %10.3f %12.1f %10.1f %10.1f %9.3f %6.0f%% %7.0f\n", r.mode.c_str(),
              r.token_budget, r.context, r.batch, r.ms_per_step, r.tokens_per_second,
              static_cast<double>(r.weight_bytes) / 1e6, static_cast<double>(r.kv_bytes) / 1e6,
              r.bound_ms, 100 * r.bound_share, r.host_us);
  std::fflush(stdout);
}

absl::Status RunOffline() {
  TIDAL_ASSIGN_OR_RETURN(OfflineBenchOptions options, OptionsFromFlags());
  TIDAL_ASSIGN_OR_RETURN(const std::unique_ptr<RankProcesses> ranks, StartBenchRanks(options));
  const auto start = std::chrono::steady_clock::now();
  TIDAL_ASSIGN_OR_RETURN(const LoadedEngine loaded,
                         LoadBenchEngine(ranks == nullptr ? nullptr : ranks->group(), &options));
  Engine* const engine = loaded.engine.get();
  const std::chrono::duration<double> load = std::chrono::steady_clock::now() - start;
  const EngineInfo& info = engine->info();
  if (options.token_budget == 0) options.token_budget = info.attention.token_budget;
  std::printf("%s on %s; plan %s (%s); read bandwidth %.1f GB/s\n", info.architecture.c_str(),
              info.device.c_str(), info.attention.pattern.c_str(), info.attention_source.c_str(),
              options.read_bandwidth / 1e9);
  std::printf("loaded in %.1f s; graphs %s; memory %s\n", load.count(), info.graphs.c_str(),
              info.memory.front().ToString().c_str());
  std::printf("%-8s %7s %8s %6s %10s %12s %10s %10s %9s %7s %7s\n", "mode", "budget", "context",
              "batch", "ms/step", "tokens/s", "weights MB", "KV MB", "bound ms", "share",
              "host us");
  std::fflush(stdout);
  TIDAL_ASSIGN_OR_RETURN(const std::vector<BenchResult> results,
                         RunOfflineBench(*engine, options, PrintRow));

  nlohmann::json array = nlohmann::json::array();
  for (const BenchResult& result : results) array.push_back(ToJson(result));
  return WriteJson(array);
}

}  // namespace
}  // namespace tidal

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "load") {
    return tidal::RunLoadBench(argc - 1, argv + 1);
  }
  if (argc > 1 && std::string_view(argv[1]) == "kernels") {
    return tidal::RunKernelBenchMain(argc - 1, argv + 1);
  }
  tidal::ParseBenchFlags(
      argc, argv,
      "Times decode steps of a model. tidal-bench kernels times single operations, tidal-bench "
      "load drives a running server; each has flags of its own: tidal-bench load --help.",
      "tidal_bench_main.cc");
  const absl::Status status = tidal::RunOffline();
  if (status.ok()) return 0;
  std::cerr << "tidal-bench: " << status.message() << "\n";
  return 1;
}
