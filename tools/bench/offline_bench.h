// Times decode steps of an engine without a server: mode x context x batch.
#ifndef TIDAL_TOOLS_BENCH_OFFLINE_BENCH_H_
#define TIDAL_TOOLS_BENCH_OFFLINE_BENCH_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"

namespace tidal {

struct OfflineBenchOptions {
  std::vector<AttentionMode> modes = {AttentionMode::kFull, AttentionMode::kTidal};
  float repetition_penalty = 1;  // of every sequence; 1 = none
  int32_t token_budget = 256;
  std::vector<int32_t> contexts;
  std::vector<int32_t> batches = {1};
  std::vector<int32_t> prefill_lengths;  // prompts timed from nothing, besides decode
  int32_t steps = 32;                    // timed decode steps a cell
  double read_bandwidth = 0;             // bytes per second, measured
  bool random_kv_cache = false;          // contexts are random rows instead of prefilled prompts
  bool overlap = false;                  // launch each decode step while the one before runs
};

// One cell. A decode cell's time is the median over its steps of the time from the end of the one
// before to its own; each step decodes one more token of every sequence, so the context grows from
// `context` by the number of steps.
struct BenchResult {
  std::string mode;          // "full", "tidal", "prefill"
  int32_t token_budget = 0;  // 0 unless tidal
  int32_t context = 0;
  int32_t batch = 0;
  double ms_per_step = 0;
  double tokens_per_second = 0;
  int64_t weight_bytes = 0;  // read a step
  int64_t kv_bytes = 0;      // read a step by attention
  double bound_ms = 0;       // (weight_bytes + kv_bytes) / read_bandwidth
  double bound_share = 0;    // bound_ms / ms_per_step
  double host_us = 0;        // of a step, not spent waiting for the device
  bool overlap = false;      // the device worked meanwhile
};

// Tokens of the longest sequence that will run.
int32_t LongestSequence(const OfflineBenchOptions& options);

// KV bytes the engine needs for these options.
int64_t KvBytesNeeded(const OfflineBenchOptions& options, int64_t kv_bytes_per_token,
                      int32_t block_size);

// Runs every cell, calling `report` after each. The prompts are real tokens (pseudo-random ids),
// prefilled once for the largest cell; smaller contexts are their prefixes.
absl::StatusOr<std::vector<BenchResult>> RunOfflineBench(
    Engine& engine, const OfflineBenchOptions& options,
    const std::function<void(const BenchResult&)>& report);

}  // namespace tidal

#endif  // TIDAL_TOOLS_BENCH_OFFLINE_BENCH_H_
