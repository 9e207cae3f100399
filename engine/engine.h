// A loaded model that runs steps: weights, KV cache, activations, one back end.
#ifndef TIDAL_ENGINE_ENGINE_H_
#define TIDAL_ENGINE_ENGINE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/attention_config.h"
#include "engine/base/ids.h"
#include "engine/step.h"
#include "kernels/backend.h"
#include "kernels/model_shape.h"

namespace tidal {

enum class LoadFormat : uint8_t {
  kSafetensors,
  kDummy,  // random weights of the shapes in config.json: no checkpoint is read; for benchmarks
};

struct EngineConfig {
  std::string model_path;  // a Hugging Face folder
  LoadFormat load_format = LoadFormat::kSafetensors;
  int32_t block_size = 16;                // tokens a KV block: 16, 32 or 64
  int64_t kv_cache_bytes = 1LL << 30;     // K and V, all layers; 0 = by memory_utilization
  double memory_utilization = 0.9;        // share of the device's memory the engine may take
  int32_t max_model_len = 0;              // 0 = the longest the model's positions allow
  int32_t max_num_seqs = 256;             // sequences in one step
  int32_t max_num_batched_tokens = 2048;  // tokens in one step
  // "default" (tidal.json, else the documented fallback), "published", "quality", "paper", "dense",
  // or a pattern string.
  std::string attention_profile = "default";
  int32_t max_token_budget = 0;  // largest budget a request may ask for; 0 = max_model_len
};

// The memory of a device, in the order in which it was taken. Bytes.
struct MemoryUse {
  int64_t total = 0;
  int64_t others = 0;  // taken before the engine came
  int64_t weights = 0;
  int64_t scratch = 0;  // activations, the back end's scratch, input and output of steps
  int64_t graphs = 0;   // kept back for recorded steps
  int64_t kv_cache = 0;

  int64_t free() const { return total - others - weights - scratch - graphs - kv_cache; }
  // "139.8 GiB: weights 15.0, scratch 2.1, graphs 0.5, KV cache 107.7, others 0.5, free 14.0"
  std::string ToString() const;
};

// What the rest of the server may know of a loaded engine. Constant after Create().
struct EngineInfo : ModelShape {
  int32_t num_ranks;         // that compute it together; bytes below are one rank's
  std::string architecture;  // "LlamaForCausalLM"
  std::string device;
  int32_t max_model_len;
  int32_t block_size;
  int32_t num_blocks;
  int32_t max_num_seqs, max_num_batched_tokens;
  int32_t max_sampled_tokens;  // that a step may give; at least max_num_seqs
  int32_t max_token_budget;
  std::vector<TokenId> eos_token_ids;  // that config.json names
  int64_t weight_bytes;                // read once a decode step
  int64_t kv_bytes_per_token;          // K and V, all layers
  SparseAttentionConfig attention;
  bool tidal_available;  // the pattern has a reuse layer
  bool tidal_chosen;     // and is ResolvedAttention::chosen: what "auto" may mean
  // Where the plan came from, for the log: "tidal.json", "profile paper, ...".
  std::string attention_source;
  std::vector<MemoryUse> memory;  // of each rank's device
  std::string graphs;             // steps recorded at start, for the log: "48 in 30 MiB", "none"
};

class RankLink;

// Not thread-safe, like Executor.
class Engine : public Executor {
 public:
  // Loads the model and takes all memory. With a link, which outlives the engine: this rank's part
  // of the model, while the other ranks load theirs; rank 0's engine then tells them what to run,
  // and FollowRankZero() is what they do. Errors name the file, the field, the value and the limit:
  // NOT_FOUND (no such folder or file), INVALID_ARGUMENT (config), UNIMPLEMENTED (architecture),
  // DATA_LOSS (truncated or inconsistent safetensors), RESOURCE_EXHAUSTED (bytes missing).
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineConfig& config,
                                                        std::unique_ptr<Backend> backend,
                                                        RankLink* link = nullptr);
  virtual const EngineInfo& info() const = 0;

  // For benchmarks: gives every row of the KV cache random numbers, as if long prompts had run.
  virtual void FillKvCacheWithRandomNumbers() = 0;
};

}  // namespace tidal

#endif  // TIDAL_ENGINE_ENGINE_H_
