#include "tools/bench/offline_bench.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace tidal {
namespace {

constexpr int kWarmupSteps = 3;

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// One sequence with blocks of its own.
struct BenchSequence {
  std::vector<TokenId> tokens;
  std::vector<BlockId> blocks;
  bool in_slot = false;  // has run a step
};

class OfflineBench {
 public:
  OfflineBench(Engine& engine, const OfflineBenchOptions& options)
      : engine_(engine), info_(engine.info()), options_(options) {
    sampling_.temperature = 0;
    sampling_.repetition_penalty = options.repetition_penalty;
  }

  absl::Status Prepare();
  absl::StatusOr<BenchResult> TimePrefill(int32_t length);
  absl::StatusOr<BenchResult> TimeDecode(AttentionMode mode, int32_t context, int32_t batch);

 private:
  ScheduledSequence Scheduled(int32_t index, int32_t computed, int32_t count, RowKind kind,
                              const AttentionPolicy& policy);
  // `batch` sequences decode a token after `computed` others: their own, or where it is pending the
  // one that the step before samples.
  StepInput DecodeStep(int32_t batch, int32_t computed, bool pending,
                       const AttentionPolicy& policy);
  // Blocks as a server that has run for a while hands them out.
  void ShuffleBlocks(std::mt19937& random);
  absl::Status Prefill(int32_t index, int32_t length);
  BenchResult Result(std::string mode, int32_t context, int32_t batch, double seconds,
                     int64_t kv_bytes) const;

  Engine& engine_;
  const EngineInfo& info_;
  const OfflineBenchOptions& options_;
  SamplingParams sampling_;
  std::vector<BenchSequence> sequences_;
};

ScheduledSequence OfflineBench::Scheduled(int32_t index, int32_t computed, int32_t count,
                                          RowKind kind, const AttentionPolicy& policy) {
  BenchSequence& sequence = sequences_[index];
  const bool decodes = kind == RowKind::kDecode;
  const bool in_slot = std::exchange(sequence.in_slot, true);
  return {.id = static_cast<SequenceId>(index + 1),
          .slot = index,
          .new_in_slot = !in_slot,
          .kind = kind,
          .wanted = decodes ? Wanted::kLastToken : Wanted::kNone,
          .tokens = absl::MakeSpan(sequence.tokens).first(computed + count),
          .num_prompt_tokens = decodes ? computed : computed + count,
          .num_computed_tokens = computed,
          .num_new_tokens = count,
          .block_table = sequence.blocks,
          .num_sent_blocks = in_slot ? static_cast<int32_t>(sequence.blocks.size()) : 0,
          .sampling = &sampling_,
          .attention = policy};
}

StepInput OfflineBench::DecodeStep(int32_t batch, int32_t computed, bool pending,
                                   const AttentionPolicy& policy) {
  StepInput input;
  for (int32_t i = 0; i < batch; ++i) {
    ScheduledSequence& row =
        input.sequences.emplace_back(Scheduled(i, computed, /*count=*/1, RowKind::kDecode, policy));
    if (!pending) continue;
    row.tokens.remove_suffix(1);
    row.num_pending_tokens = 1;
  }
  return input;
}

absl::Status OfflineBench::Prepare() {
  const int32_t batch = *std::max_element(options_.batches.begin(), options_.batches.end());
  const int32_t length = LongestSequence(options_);
  if (length > info_.max_model_len) {
    return absl::InvalidArgumentError(absl::StrCat(
        "contexts: the longest with its ", options_.steps + kWarmupSteps,
        " steps must be at most the model's ", info_.max_model_len, " tokens, got ", length));
  }
  const int32_t blocks = (length + info_.block_size - 1) / info_.block_size;
  if (int64_t{blocks} * batch > info_.num_blocks) {
    return absl::ResourceExhaustedError(absl::StrCat("kv_cache_bytes: ", int64_t{blocks} * batch,
                                                     " blocks are needed, there are ",
                                                     info_.num_blocks));
  }
  std::mt19937 random(1);
  std::uniform_int_distribution<TokenId> any_token(8, info_.vocab_size - 1);
  sequences_.resize(batch);
  BlockId next_block = 0;
  for (BenchSequence& sequence : sequences_) {
    sequence.tokens.resize(length);
    for (TokenId& token : sequence.tokens) token = any_token(random);
    for (int32_t i = 0; i < blocks; ++i) sequence.blocks.push_back(next_block++);
  }
  if (options_.random_kv_cache) ShuffleBlocks(random);
  if (options_.random_kv_cache) {
    engine_.FillKvCacheWithRandomNumbers();
    return absl::OkStatus();
  }
  for (int32_t i = 0; i < batch; ++i) TIDAL_RETURN_IF_ERROR(Prefill(i, length));
  return absl::OkStatus();
}

void OfflineBench::ShuffleBlocks(std::mt19937& random) {
  std::vector<BlockId> all;
  for (const BenchSequence& sequence : sequences_) {
    all.insert(all.end(), sequence.blocks.begin(), sequence.blocks.end());
  }
  std::shuffle(all.begin(), all.end(), random);
  auto next = all.begin();
  for (BenchSequence& sequence : sequences_) {
    for (BlockId& block : sequence.blocks) block = *next++;
  }
}

absl::Status OfflineBench::Prefill(int32_t index, int32_t length) {
  for (int32_t done = 0; done < length;) {
    const int32_t chunk = std::min(length - done, info_.max_num_batched_tokens);
    StepInput input;
    input.sequences.push_back(Scheduled(index, done, chunk, RowKind::kPrefill, {}));
    TIDAL_RETURN_IF_ERROR(engine_.Execute(input).status());
    done += chunk;
  }
  return absl::OkStatus();
}

BenchResult OfflineBench::Result(std::string mode, int32_t context, int32_t batch, double seconds,
                                 int64_t kv_bytes) const {
  BenchResult result;
  result.mode = std::move(mode);
  result.context = context;
  result.batch = batch;
  result.ms_per_step = seconds * 1e3;
  result.weight_bytes = info_.weight_bytes;
  result.kv_bytes = kv_bytes;
  result.bound_ms =
      static_cast<double>(result.weight_bytes + kv_bytes) / options_.read_bandwidth * 1e3;
  result.bound_share = result.bound_ms / result.ms_per_step;
  return result;
}

absl::StatusOr<BenchResult> OfflineBench::TimePrefill(int32_t length) {
  // The first steps of a shape may choose algorithms.
  TIDAL_RETURN_IF_ERROR(Prefill(0, length));
  const auto start = std::chrono::steady_clock::now();
  TIDAL_RETURN_IF_ERROR(Prefill(0, length));
  const double seconds = SecondsSince(start);
  BenchResult result = Result("prefill", length, 1, seconds, 0);
  result.tokens_per_second = length / seconds;
  return result;
}

absl::StatusOr<BenchResult> OfflineBench::TimeDecode(AttentionMode mode, int32_t context,
                                                     int32_t batch) {
  const AttentionPolicy policy{.mode = mode,
                               .token_budget = options_.token_budget,
                               .dense_below = info_.attention.dense_below};
  std::vector<double> seconds, host_seconds;
  int64_t kv_bytes = 0;
  const int32_t num_steps = kWarmupSteps + options_.steps, num_ahead = options_.overlap ? 1 : 0;
  auto start = std::chrono::steady_clock::now();
  for (int32_t step = 0, launched = 0; step < num_steps; ++step) {
    for (; launched < std::min(num_steps, step + 1 + num_ahead); ++launched) {
      engine_.Launch(
          DecodeStep(batch, context - 1 + launched, /*pending=*/launched > step, policy));
    }
    TIDAL_ASSIGN_OR_RETURN(StepOutput output, engine_.Collect());
    const double step_seconds =
        SecondsSince(std::exchange(start, std::chrono::steady_clock::now()));
    if (step < kWarmupSteps) continue;
    seconds.push_back(step_seconds);
    host_seconds.push_back(seconds.back() - output.stats.wait_seconds);
    kv_bytes += output.stats.kv_bytes_read;
  }
  BenchResult result = Result(mode == AttentionMode::kTidal ? "tidal" : "full", context, batch,
                              Median(seconds), kv_bytes / options_.steps);
  result.token_budget = mode == AttentionMode::kTidal ? options_.token_budget : 0;
  result.tokens_per_second = batch / (result.ms_per_step / 1e3);
  result.host_us = Median(host_seconds) * 1e6;
  result.overlap = options_.overlap;
  return result;
}

}  // namespace

int32_t LongestSequence(const OfflineBenchOptions& options) {
  int32_t length = 0;
  for (int32_t n : options.contexts) length = std::max(length, n + options.steps + kWarmupSteps);
  for (int32_t n : options.prefill_lengths) length = std::max(length, n);
  return length;
}

int64_t KvBytesNeeded(const OfflineBenchOptions& options, int64_t kv_bytes_per_token,
                      int32_t block_size) {
  const int32_t length = LongestSequence(options);
  const int64_t batch = *std::max_element(options.batches.begin(), options.batches.end());
  return batch * (length + block_size) * kv_bytes_per_token;
}

absl::StatusOr<std::vector<BenchResult>> RunOfflineBench(
    Engine& engine, const OfflineBenchOptions& options,
    const std::function<void(const BenchResult&)>& report) {
  OfflineBench bench(engine, options);
  TIDAL_RETURN_IF_ERROR(bench.Prepare());
  std::vector<BenchResult> results;
  auto add = [&](absl::StatusOr<BenchResult> result) {
    if (!result.ok()) return result.status();
    report(*result);
    results.push_back(*std::move(result));
    return absl::OkStatus();
  };
  for (int32_t length : options.prefill_lengths) {
    TIDAL_RETURN_IF_ERROR(add(bench.TimePrefill(length)));
  }
  for (int32_t batch : options.batches) {
    for (int32_t context : options.contexts) {
      for (AttentionMode mode : options.modes) {
        TIDAL_RETURN_IF_ERROR(add(bench.TimeDecode(mode, context, batch)));
      }
    }
  }
  return results;
}

}  // namespace tidal
